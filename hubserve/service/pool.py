"""Threads that classify waiting pictures: a few at a time, but without waiting for more to come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from hubserve.errors import OverloadedError
from hubserve.service.engine import Answer, Engine, Prepared


@dataclass(frozen=True)
class Job:
    """One picture that waits.

    Attributes:
        model: name or tag.
        data: the picture.
        top_k: classes to name.
        result: becomes the tag that answered, and its answer.
    """

    model: str
    data: bytes
    top_k: int | None
    result: Future[tuple[str, Answer]] = field(default_factory=Future)


class Pool:
    """A queue and the threads that empty it.

    A thread takes what waits, up to `max_batch` pictures, prepares them and runs them as one batch on a session that uses one
    core. Under low load every picture is its own batch and waits for nobody; under high load batches fill by themselves.

    Args:
        find: name or tag -> tag and engine; called in the threads, where loading a model holds up nobody else.
        threads: as many as cores, since each keeps one busy.
        max_batch: pictures of a batch.
        max_waiting: pictures that may wait; one more is refused at once.
    """

    def __init__(self, find: Callable[[str], tuple[str, Engine]], *, threads: int, max_batch: int, max_waiting: int) -> None:
        self._find = find
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"classify-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, model: str, pictures: Sequence[bytes], top_k: int | None) -> list[Future[tuple[str, Answer]]]:
        """Lets the pictures wait for their turn.

        Raises:
            OverloadedError: too many wait already; none of these was taken.
        """
        waiting = self._waiting.qsize()
        if waiting + len(pictures) > self._max_waiting and waiting:
            raise OverloadedError(
                f"{waiting} pictures wait and at most {self._max_waiting} may, so {len(pictures)} more are not taken; "
                "ask again in a second"
            )
        jobs = [Job(model, data, top_k) for data in pictures]
        for job in jobs:
            self._waiting.put(job)
        return [job.result for job in jobs]

    def close(self) -> None:
        """Lets the threads finish what waits, and end."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (jobs := self._take()) is not None:
            self._classify([job for job in jobs if job.result.set_running_or_notify_cancel()])

    def _take(self) -> list[Job] | None:
        """The next jobs, at least one; None at the end."""
        jobs: list[Job] = []
        while len(jobs) < self._max_batch:
            try:
                job = self._waiting.get(block=not jobs)
            except queue.Empty:
                break
            if job is None:
                if not jobs:
                    return None
                self._waiting.put(None)
                break
            jobs.append(job)
        return jobs

    def _classify(self, jobs: Sequence[Job]) -> None:
        batches: dict[str, tuple[Engine, list[tuple[Job, Prepared]]]] = {}
        for job in jobs:
            try:
                tag, engine = self._find(job.model)
                prepared = engine.prepare(job.data, top_k=job.top_k)
            except Exception as error:  # Whatever it is, it is this job's answer, and the thread lives on.
                job.result.set_exception(error)
            else:
                batches.setdefault(tag, (engine, []))[1].append((job, prepared))
        for tag, (engine, batch) in batches.items():
            _answer(tag, engine, batch)


def _answer(tag: str, engine: Engine, batch: Sequence[tuple[Job, Prepared]]) -> None:
    try:
        answers = engine.answer([prepared for _, prepared in batch])
    except Exception as error:
        for job, _ in batch:
            job.result.set_exception(error)
    else:
        for (job, _), answer in zip(batch, answers, strict=True):
            job.result.set_result((tag, answer))
