"""Threads that classify waiting pictures: a few at a time, but without waiting for more to come."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from hubserve.errors import OverloadedError
from hubserve.package.runner import Batch
from hubserve.service.engine import Answer, Engine, Prepared

log = logging.getLogger("hubserve.service")


@dataclass(frozen=True)
class QueuedImage:
    """One picture that waits.

    Attributes:
        engine: that is to classify it.
        data: the picture, see `Engine.prepare`.
        top_k: classes to name.
        result: becomes the answer.
    """

    engine: Engine
    data: bytes | Batch
    top_k: int | None
    result: Future[Answer] = field(default_factory=Future)


class Pool:
    """A queue and the threads that empty it.

    A thread takes what waits, up to `max_batch` pictures, prepares them and runs them as one batch. Under low load every
    picture is its own batch and waits for nobody; under high load batches fill by themselves.

    Args:
        threads: as many as cores, where sessions use one core.
        max_batch: pictures of a batch.
        max_waiting: pictures that may be in the house, waiting or at work; one more is refused at once.
        on_batch: told the size of every batch, in the threads.
    """

    def __init__(
        self, *, threads: int, max_batch: int, max_waiting: int, on_batch: Callable[[int], None] = lambda size: None
    ) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._on_batch = on_batch
        self._inside = 0
        self._count = threading.Lock()
        self._waiting: queue.SimpleQueue[QueuedImage | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"classify-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def inside(self) -> int:
        """Pictures that wait or are at work."""
        return self._inside

    def check_room(self, count: int = 1) -> None:
        """Raises OverloadedError where `count` more pictures have no room now. An empty house takes any number."""
        if self._inside + count > self._max_waiting and self._inside:
            raise OverloadedError(
                f"{self._inside} pictures wait and at most {self._max_waiting} may, so {count} more are not taken; "
                "ask again in a second"
            )

    def submit(self, engine: Engine, pictures: Sequence[bytes | Batch], top_k: int | None) -> list[Future[Answer]]:
        """Lets the pictures wait for their turn.

        Raises:
            OverloadedError: too many wait already; none of these was taken.
        """
        with self._count:
            self.check_room(len(pictures))
            self._inside += len(pictures)
        jobs = [QueuedImage(engine, data, top_k) for data in pictures]
        for job in jobs:
            self._waiting.put(job)
        return [job.result for job in jobs]

    def close(self, seconds: float = 10.0) -> None:
        """Lets the threads finish what waits, and end; those that have not in time end with the process."""
        for _ in self._threads:
            self._waiting.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if late := sum(thread.is_alive() for thread in self._threads):
            log.warning("%d threads are still at work after %g s; what they do is lost", late, seconds)

    def _work(self) -> None:
        while (jobs := self._take()) is not None:
            self._classify(jobs)
            del jobs  # An idle thread keeps no pictures.

    def _take(self) -> list[QueuedImage] | None:
        """The next jobs, at least one; None at the end."""
        jobs: list[QueuedImage] = []
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

    def _classify(self, jobs: Sequence[QueuedImage]) -> None:
        batches: dict[Engine, list[tuple[QueuedImage, Prepared]]] = {}
        for job in jobs:
            # Asked only now: a picture before it may have taken long.
            if not job.result.set_running_or_notify_cancel():
                self._leave(1)
                continue
            try:
                prepared = job.engine.prepare(job.data, top_k=job.top_k)
            except Exception as error:  # Whatever it is, it is this job's answer, and the thread lives on.
                self._leave(1)
                _fail([job], error)
            else:
                batches.setdefault(job.engine, []).append((job, prepared))
        for engine, batch in batches.items():
            self._on_batch(len(batch))
            self._answer(engine, batch)

    def _answer(self, engine: Engine, batch: Sequence[tuple[QueuedImage, Prepared]]) -> None:
        try:
            answers = engine.answer([prepared for _, prepared in batch])
        except Exception as error:
            self._leave(len(batch))
            _fail([job for job, _ in batch], error)
        else:
            self._leave(len(batch))
            for (job, _), answer in zip(batch, answers, strict=True):
                job.result.set_result(answer)

    def _leave(self, count: int) -> None:
        """Makes room before the answer is known: who has it may send the next picture at once."""
        with self._count:
            self._inside -= count


def _fail(jobs: Sequence[QueuedImage], error: Exception) -> None:
    """Leaves out the frame that caught it: that holds the jobs, and they the error: a circle, see `clear_frames`."""
    error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    for job in jobs:
        job.result.set_exception(error)
