"""What every executor must do, by itself and under an experiment.

Subclass it, give the fixture `executor`, entered, and say in `make` how another process has one of its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import BaseSampler

from hubserve.errors import ExperimentError
from hubserve.evaluator import Evaluator, Trial
from hubserve.experiment import Executor, InlineExecutor, NasExperiment
from hubserve.space import Arch, ModelSpace
from hubserve.strategy import GridSearch, Random, RegularizedEvolution
from tests.experiment.killing import FORK, SPAWN, Logged, begun, history, killed_at, processes
from tests.experiment.small import SIZE, Small, Value, value
from tests.waiting import until


def add(a: int, b: int) -> int:
    return a + b


def process_id(_: int) -> int:
    return os.getpid()


def fail(message: str) -> None:
    raise ValueError(message)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Big:
    """Counts how often it is read from bytes in a process."""

    read = 0

    def __getstate__(self) -> dict[str, int]:
        return {"value": 7}

    def __setstate__(self, state: dict[str, int]) -> None:
        Big.read += 1
        self.value = state["value"]


def times_read(big: Big) -> tuple[int, int, int]:
    return big.value, Big.read, os.getpid()


class Lent(contextlib.AbstractContextManager["Lent"]):
    """An executor that is entered already, for experiments that would start and end one of their own.

    Args:
        executor: that is lent.
        workers: of it that an experiment may use.
    """

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self.workers = workers
        self.shares_memory = executor.shares_memory

    def share(self, value: Any) -> Any:
        return self._executor.share(value)

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        return self._executor.submit(function, *args)

    def __exit__(self, *exception: object) -> None:
        """Its owner ends it."""


class Failing(Evaluator):
    """Raises for some trials, and takes its process down in others."""

    def __init__(self, *, raises: tuple[int, ...], dies: tuple[int, ...] = ()) -> None:
        self._raises = raises
        self._dies = dies

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        if trial.number in self._raises:
            raise ValueError("as meant")
        if trial.number in self._dies:
            die()
        return {"default": value(arch)}


class Hanging(Evaluator):
    """Waits for ever in some trials, and in others in native code, which no exception interrupts."""

    def __init__(self, *, waits: tuple[int, ...] = (), native: tuple[int, ...] = ()) -> None:
        self._waits = waits
        self._native = native

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        if trial.number in self._native:
            sum(range(10**14))
        while trial.number in self._waits:
            with contextlib.suppress(Exception):
                time.sleep(1000)
        return {"default": value(arch)}


def searched(
    executor: Executor, folder: Path, *, strategy: BaseSampler, evaluator: Evaluator, trials: int, **settings: Any
) -> NasExperiment:
    """An experiment, run to its end."""
    experiment = NasExperiment(
        Small(), evaluator, strategy, name="it", folder=folder, executor=executor, max_trials=trials, seed=5, **settings
    )
    experiment.run()
    return experiment


def to_be_killed(make: Callable[[], Executor], folder: Path, executor: Executor | None = None) -> NasExperiment:
    """An experiment, run to its end; the same whenever it is made anew in the same folder."""
    evaluator = Logged(folder / "log", value, seconds=0.02)
    strategy = Random(seed=7)
    return searched(executor or make(), folder, strategy=strategy, evaluator=evaluator, trials=30)


class ExecutorConformance:
    context: ForkContext | SpawnContext = FORK
    """How a process with an executor of its own is started."""

    @staticmethod
    def make() -> Executor:
        """A new one, not entered; a function that other processes can be given."""
        raise NotImplementedError

    def test_results_come_through_futures(self, executor: Executor) -> None:
        futures = [executor.submit(add, i, 1) for i in range(5)]
        assert [future.result(timeout=120) for future in futures] == [1, 2, 3, 4, 5]

    def test_an_error_is_the_future_s(self, executor: Executor) -> None:
        with pytest.raises(ValueError, match="as meant"):
            executor.submit(fail, "as meant").result(timeout=120)
        assert executor.submit(add, 1, 1).result(timeout=120) == 2

    def test_what_a_script_defines_travels(self, executor: Executor) -> None:
        scope: dict[str, object] = {"__name__": "__main__"}
        exec("class Doubled:\n    def __init__(self, x): self.x = 2 * x\ndef make(x): return Doubled(x).x", scope)
        assert executor.submit(scope["make"], 21).result(timeout=120) == 42  # type: ignore[arg-type]

    def test_the_seed_repeats_the_history_of_this_process(self, executor: Executor, tmp_path: Path) -> None:
        """One worker, and a strategy that learns; on the way: the archs are inside the space, and the budget ends it."""

        def run(executor: Executor, folder: str) -> NasExperiment:
            strategy = RegularizedEvolution(population_size=5, sample_size=2, seed=3)
            return searched(executor, tmp_path / folder, strategy=strategy, evaluator=Value(), trials=15)

        first = run(Lent(executor, 1), "a")
        assert first.stop_reason == "15 trials were evaluated, as many as were asked for"
        assert all(Small().canonical(record.arch) == record.arch for record in first.trials)
        assert history(first) == history(run(Lent(executor, 1), "b")) == history(run(InlineExecutor(), "inline"))

    def test_failed_trials_do_not_end_a_search(self, executor: Executor, tmp_path: Path) -> None:
        search = searched(Lent(executor, 2), tmp_path, strategy=Random(seed=1), evaluator=Failing(raises=(1, 2, 5)), trials=10)
        failed = {record.number: record.reason for record in search.trials if record.state == "failed"}
        assert set(failed) == {1, 2, 5}
        assert all("ValueError: as meant" in reason for reason in failed.values())
        assert len(search.export_data()) == 7

    def test_a_hanging_trial_ends(self, executor: Executor, tmp_path: Path) -> None:
        search = searched(
            Lent(executor, 1),
            tmp_path,
            strategy=Random(seed=1),
            evaluator=Hanging(waits=(1, 2)),
            trials=4,
            max_trial_seconds=0.5,
        )
        assert [record.state for record in search.trials] == ["complete", "failed", "failed", "complete"]
        assert "took longer than max_trial_seconds = 0.5 (" in search.trials[1].reason
        assert "conformance.py" in search.trials[1].reason

    def test_a_search_ends_with_its_space(self, executor: Executor, tmp_path: Path) -> None:
        search = searched(Lent(executor, 2), tmp_path, strategy=GridSearch(seed=1), evaluator=Value(), trials=1000)
        assert search.stop_reason.startswith("the space is exhausted")
        assert len({repr(record.arch) for record in search.export_data()}) == len(search.trials) == SIZE

    def test_a_search_that_is_killed_goes_on_as_if_not(self, executor: Executor, tmp_path: Path) -> None:
        """`kill -9` of a process with an executor of its own, twice; then the end, on the one of the fixture."""
        log, kills = tmp_path / "killed" / "log", (4, 15)
        log.parent.mkdir()
        (tmp_path / "alone").mkdir()
        alone = to_be_killed(InlineExecutor, tmp_path / "alone")
        killed_at(kills, to_be_killed, (self.make, log.parent), log, context=self.context)
        # Nobody is left at work on trials that are now begun anew.
        until(lambda: not any(Path(f"/proc/{process}").exists() for process in processes(log)), seconds=30)
        resumed = to_be_killed(self.make, log.parent, Lent(executor, 2))
        assert history(resumed) == history(alone)
        # Each kill can cost the evaluations under way.
        assert 30 <= begun(log) <= 30 + 2 * len(kills)


class RemoteConformance(ExecutorConformance):
    """For those that run functions in other processes."""

    context = SPAWN

    def test_it_is_another_process(self, executor: Executor) -> None:
        assert executor.submit(process_id, 0).result(timeout=120) != os.getpid()

    def test_what_is_shared_is_read_once_in_each_process(self, executor: Executor) -> None:
        shared = executor.share(Big())
        reported = [executor.submit(times_read, shared).result(timeout=120) for _ in range(6)]
        assert {value for value, _, _ in reported} == {7}
        for process in {process for _, _, process in reported}:
            assert max(read for _, read, p in reported if p == process) == 1

    def test_what_cannot_travel_is_refused_before_it_is_submitted(self, executor: Executor) -> None:
        with pytest.raises(ExperimentError, match=r"cannot be sent to another process.*inside the evaluation"):
            executor.share(threading.Lock())

    def test_a_killed_worker_fails_its_own_function_alone(self, executor: Executor) -> None:
        slow, lost = executor.submit(_slow, 1.0), executor.submit(die)
        wait([slow, lost], timeout=120)
        assert slow.result() == "slow"
        assert lost.exception() is not None
        assert executor.submit(add, 2, 2).result(timeout=120) == 4

    @pytest.mark.slow
    def test_trials_that_kill_their_worker_do_not_end_a_search(self, executor: Executor, tmp_path: Path) -> None:
        search = searched(
            Lent(executor, 1), tmp_path, strategy=Random(seed=1), evaluator=Failing(raises=(1,), dies=(3,)), trials=6
        )
        assert [record.state for record in search.trials] == ["complete", "failed", "complete", "failed", *["complete"] * 2]

    @pytest.mark.slow
    def test_a_trial_that_hangs_in_native_code_ends_with_its_process(self, executor: Executor, tmp_path: Path) -> None:
        search = searched(
            Lent(executor, 1),
            tmp_path,
            strategy=Random(seed=1),
            evaluator=Hanging(native=(1,)),
            trials=3,
            max_trial_seconds=0.5,
        )
        assert [record.state for record in search.trials] == ["complete", "failed", "complete"]
        assert "max_trial_seconds = 0.5, and did not react to that, so its process was ended" in search.trials[1].reason

    @pytest.mark.slow
    def test_a_search_that_is_killed_goes_on_as_if_not(self, executor: Executor, tmp_path: Path) -> None:
        super().test_a_search_that_is_killed_goes_on_as_if_not(executor, tmp_path)


def _slow(seconds: float) -> str:
    time.sleep(seconds)
    return "slow"
