"""Searches in processes of their own that are ended by `kill -9`, and what is to be seen of it afterwards."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkContext, SpawnContext
from pathlib import Path
from random import Random as Rng

import pytest

from hubserve.evaluator import Evaluator, Objective, Trial
from hubserve.experiment import NasExperiment
from hubserve.space import Arch, ModelSpace

FORK = multiprocessing.get_context("fork")
"""A kill costs no import of torch; for searches that start no process of their own."""

SPAWN = multiprocessing.get_context("spawn")

AHEAD = 4
"""Evaluations that may begin between the moment at which a search is to be killed and the kill."""


class Logged(Evaluator):
    """Notes, in a file that outlives the process, which trials began.

    Args:
        log: the file.
        score: of an arch: a number, or one for each objective.
        objectives: of the search.
        seconds: that an evaluation takes.
    """

    def __init__(
        self,
        log: Path,
        score: Callable[[Arch], float | Sequence[float]],
        *,
        objectives: tuple[Objective, ...] = (Objective("default"),),
        seconds: float = 0.004,
    ) -> None:
        self.objectives = objectives
        self._log = log
        self._score = score
        self._seconds = seconds

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        with self._log.open("a") as file:
            file.write(f"began {trial.number} in {os.getpid()}\n")
        time.sleep(self._seconds)
        _hold(self._log)
        score = self._score(arch)
        values = score if isinstance(score, Sequence) else [score]
        names = [objective.name for objective in self.objectives]
        return dict(zip(names, values, strict=True)) | {"seed": float(trial.seed)}


def begun(log: Path) -> int:
    """Evaluations that began, those that began anew too."""
    return log.read_text().count("began") if log.exists() else 0


def processes(log: Path) -> set[int]:
    """Those in which evaluations began."""
    return {int(line.split()[-1]) for line in log.read_text().splitlines()}


def history(search: NasExperiment) -> list[tuple[object, ...]]:
    """All that a trial is, by its number."""
    return [(record.number, record.state, record.arch, record.scores) for record in search.trials]


def killed_at(
    moments: Sequence[int],
    run: Callable[..., object],
    arguments: tuple[object, ...],
    log: Path,
    *,
    context: ForkContext | SpawnContext = FORK,
    most_delay: float = 0.02,
) -> None:
    """Runs a search in a process once for each moment, and kills it somewhere after so many evaluations began.

    Args:
        moments: evaluations that began, in all runs together; each more than the one before.
        run: called with `arguments`, in another process.
        arguments: of `run`.
        log: of `Logged`.
        context: how processes start.
        most_delay: seconds that may pass between the moment and the kill.
    """
    rng, last = Rng(repr(moments)), _last(log)
    for moment in moments:
        # On a busy machine the search may be far ahead before this process runs again: it waits to be killed then.
        last.write_text(str(moment + AHEAD))
        process = context.Process(target=_reported, args=(run, arguments, _error(log)))
        process.start()
        try:
            _wait_for(log, moment, process)
            time.sleep(rng.random() * most_delay)
        finally:
            process.kill()
            process.join()
            last.unlink()
        assert process.exitcode == -signal.SIGKILL, "the search was over before it was killed"


def _reported(run: Callable[..., object], arguments: tuple[object, ...], error: Path) -> None:
    """Runs a search; an exception is written to the file `error`, since what other processes print may be cut off."""
    try:
        run(*arguments)
    except BaseException:
        error.write_text(traceback.format_exc())
        raise


def _error(log: Path) -> Path:
    """Has the traceback of a search that failed."""
    return log.with_name("error")


def _last(log: Path) -> Path:
    """Says which evaluation is the last one to end before the kill."""
    return log.with_name("last")


def _hold(log: Path) -> None:
    while _last(log).exists() and begun(log) >= int(_last(log).read_text() or 0):
        time.sleep(0.01)


def _wait_for(log: Path, moment: int, process: multiprocessing.process.BaseProcess) -> None:
    end = time.monotonic() + 120
    while begun(log) < moment:
        if not process.is_alive():
            error = _error(log).read_text() if _error(log).exists() else "no exception"
            pytest.fail(f"the search ended with {process.exitcode} before {moment} trials began: {error}")
        assert time.monotonic() < end, f"no {moment} trials in two minutes"
        time.sleep(0.002)
