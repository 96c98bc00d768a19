"""The queue of images to classify: threads take them in batches, without waiting for more; too many are refused at once."""

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
    """One image in the queue of images.

    Attributes:
        engine: Engine that is to classify the image.
        data: Bytes of the image file, or a prepared array; see `Engine.prepare`.
        top_k: Number of classes in the answer; None for the default.
        result: Future that receives the answer.
    """

    engine: Engine
    data: bytes | Batch
    top_k: int | None
    result: Future[Answer] = field(default_factory=Future)


class BatchQueue:
    """A queue and the threads that empty it.

    A thread takes what is queued, up to `max_batch` images, prepares them and runs them as one batch. Under low load every
    image is a batch of its own and is never delayed for others; under high load batches fill by themselves.

    Args:
        threads: Number of threads; as many as cores, where a session uses one core.
        max_batch: Largest number of images in a batch.
        max_waiting: Largest number of images that are queued or being classified; one more is refused at once.
        on_batch: Called with the size of every batch, in the threads.

    Attributes:
        inside: Number of images that are queued or being classified.
    """

    def __init__(
        self, *, threads: int, max_batch: int, max_waiting: int, on_batch: Callable[[int], None] = lambda size: None
    ) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._on_batch = on_batch
        self.inside = 0
        self._count = threading.Lock()
        self._waiting: queue.SimpleQueue[QueuedImage | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"classify-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def check_room(self, count: int = 1) -> None:
        """Raises OverloadedError where `count` more images exceed `max_waiting`. An idle queue takes any number."""
        if self.inside + count > self._max_waiting and self.inside:
            raise OverloadedError(
                f"{self.inside} images wait and at most {self._max_waiting} may, so {count} more are not taken; "
                "ask again in a second"
            )

    def submit(self, engine: Engine, images: Sequence[bytes | Batch], top_k: int | None) -> list[Future[Answer]]:
        """Queues images, and returns the future answer of each.

        Raises:
            OverloadedError: Too many are queued already; none of these was taken.
        """
        with self._count:
            self.check_room(len(images))
            self.inside += len(images)
        queued = [QueuedImage(engine, data, top_k) for data in images]
        for image in queued:
            self._waiting.put(image)
        return [image.result for image in queued]

    def close(self, seconds: float = 10.0) -> None:
        """Ends the threads after all that is queued; those that need more than `seconds` end with the process."""
        for _ in self._threads:
            self._waiting.put(None)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if late := sum(thread.is_alive() for thread in self._threads):
            log.warning("%d threads are still at work after %g s; what they do is lost", late, seconds)

    def _work(self) -> None:
        while (images := self._take()) is not None:
            self._classify(images)
            del images  # An idle thread keeps no images.

    def _take(self) -> list[QueuedImage] | None:
        """The next images, at least one; None after `close`."""
        images: list[QueuedImage] = []
        while len(images) < self._max_batch:
            try:
                image = self._waiting.get(block=not images)
            except queue.Empty:
                break
            if image is None:
                if not images:
                    return None
                self._waiting.put(None)
                break
            images.append(image)
        return images

    def _classify(self, images: Sequence[QueuedImage]) -> None:
        batches: dict[Engine, list[tuple[QueuedImage, Prepared]]] = {}
        for image in images:
            # Checked only now: an image before it may have taken long, and this one was cancelled.
            if not image.result.set_running_or_notify_cancel():
                self._count_as_done(1)
                continue
            try:
                prepared = image.engine.prepare(image.data, top_k=image.top_k)
            except Exception as error:  # Whatever it is, it is the answer for this image, and the thread goes on.
                self._count_as_done(1)
                _fail([image], error)
            else:
                batches.setdefault(image.engine, []).append((image, prepared))
        for engine, batch in batches.items():
            self._on_batch(len(batch))
            self._answer(engine, batch)

    def _answer(self, engine: Engine, batch: Sequence[tuple[QueuedImage, Prepared]]) -> None:
        try:
            answers = engine.answer([prepared for _, prepared in batch])
        except Exception as error:
            self._count_as_done(len(batch))
            _fail([image for image, _ in batch], error)
        else:
            self._count_as_done(len(batch))
            for (image, _), answer in zip(batch, answers, strict=True):
                image.result.set_result(answer)

    def _count_as_done(self, count: int) -> None:
        """Counts images as done, before their answers are set: a client may send the next image as soon as it has one."""
        with self._count:
            self.inside -= count


def _fail(images: Sequence[QueuedImage], error: Exception) -> None:
    """Sets the error as the result, without the frame that caught it: that refers to the images, a reference cycle."""
    error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    for image in images:
        image.result.set_exception(error)
