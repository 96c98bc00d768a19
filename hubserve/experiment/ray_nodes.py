"""Finds the machines of a Ray cluster that lack a file, and begins tasks again on another machine when theirs is lost.

Only `ray_executor` imports this module, after it has checked that Ray is installed.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

MOST_MACHINES = 3
"""Number of machines in a row that may be lost under the same task before the task counts as failed."""

_log = logging.getLogger("hubserve")


def again_elsewhere(submit: Callable[[], Future[T]]) -> Future[T]:
    """Returns a future of the task that `submit` begins; the task begins again on another machine if its machine is lost.

    A machine is lost when Ray declares its node dead. The future raises Ray's `NodeDiedError` after `MOST_MACHINES` of them. A
    worker process that dies on a machine that lives is an error of the task, which does not begin again.

    Args:
        submit: Begins the task and returns the future of that attempt; called once for each attempt.
    """
    from ray.exceptions import NodeDiedError

    result: Future[T] = Future()
    result.set_running_or_notify_cancel()

    def begin(left: int) -> None:
        try:
            attempt = submit()
        except Exception as error:
            result.set_exception(error)
            return
        attempt.add_done_callback(lambda ended: end(ended, left - 1))

    def end(attempt: Future[T], left: int) -> None:
        error = attempt.exception()
        if isinstance(error, NodeDiedError) and left > 0:
            _log.warning("a machine of the Ray cluster was lost; what ran on it begins again elsewhere")
            # Ray calls this in a thread of its own, in which no task may be submitted.
            threading.Thread(target=begin, args=(left,), daemon=True).start()
        elif error is not None:
            result.set_exception(error)
        else:
            result.set_result(attempt.result())

    begin(MOST_MACHINES)
    return result


def machines_without(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Returns the paths that do not exist on a machine, by the machine's name and address, for those that lack any.

    It looks at the machines that the cluster has now, by a task without resources on each of them.

    Raises:
        ray.exceptions.RayError: A machine was lost while it was asked.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked: dict[str, Any] = {}
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"]:
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            task: Any = ray.remote(_missing).options(num_cpus=0, scheduling_strategy=there)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, node {node['NodeID'][:8]})"
            asked[name] = task.remote([str(path) for path in paths])
    answers = {name: [Path(path) for path in ray.get(answer)] for name, answer in asked.items()}
    return {name: missing for name, missing in answers.items() if missing}


def _missing(paths: list[str]) -> list[str]:
    return [path for path in paths if not Path(path).exists()]
