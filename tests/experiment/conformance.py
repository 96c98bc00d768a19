"""What every executor must do. Subclass it, and give the fixture `executor`, entered."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import wait

import pytest

from hubserve.errors import ExperimentError
from hubserve.experiment import Executor


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


class ExecutorConformance:
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


class RemoteConformance(ExecutorConformance):
    """For those that run functions in other processes."""

    def test_it_is_another_process(self, executor: Executor) -> None:
        assert executor.submit(process_id, 0).result(timeout=120) != os.getpid()

    def test_what_is_shared_is_read_once_in_each_process(self, executor: Executor) -> None:
        shared = executor.share(Big())
        told = [executor.submit(times_read, shared).result(timeout=120) for _ in range(6)]
        assert {value for value, _, _ in told} == {7}
        for process in {process for _, _, process in told}:
            assert max(read for _, read, p in told if p == process) == 1

    def test_what_cannot_travel_is_refused_before_it_is_submitted(self, executor: Executor) -> None:
        with pytest.raises(ExperimentError, match=r"cannot be sent to another process.*inside the evaluation"):
            executor.share(threading.Lock())

    def test_a_killed_worker_fails_its_own_function_alone(self, executor: Executor) -> None:
        slow, lost = executor.submit(_slow, 1.0), executor.submit(die)
        wait([slow, lost], timeout=120)
        assert slow.result() == "slow"
        assert lost.exception() is not None
        assert executor.submit(add, 2, 2).result(timeout=120) == 4


def _slow(seconds: float) -> str:
    time.sleep(seconds)
    return "slow"
