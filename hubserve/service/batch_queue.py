"""`BatchQueue`: admits images up to a limit, refuses more, and has threads that classify the admitted ones in batches.

`hubserve.service.fair_order` decides which of the waiting images is taken next.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any, Literal

from hubserve.errors import LogitsError, OverloadedError
from hubserve.preprocess import MAX_PIXELS
from hubserve.service.engine import Prepared
from hubserve.service.fair_order import LIGHT_PIXELS, QueuedData, QueuedImage, WaitingImages, weigh
from hubserve.service.tensor_engine import PreparedTensors
from hubserve.service.text_engine import AnyEngine, PreparedText

log = logging.getLogger("hubserve.service")

Step = Literal["decode", "infer"]

BATCH_PIXELS = 1_000_000
"""Limit on the pixels of a batch, for each image that it may hold.

In a larger batch, the first image would wait too long for the others to be decoded.
"""


class BatchQueue:
    """A queue of images, and the threads that classify them. Texts and tensors wait in it, too, and count as images.

    A thread takes the images that wait, up to `max_batch`, decodes them and runs them as one batch; it never waits for more
    images. Under low load each image is a batch of its own and is not delayed by others. Under high load the batches become
    large.

    Args:
        threads: Number of threads. If an engine uses one core for a call, the number of cores is a good choice.
        max_batch: Largest number of images in a batch.
        max_waiting: Largest number of images that wait or are being classified; `check_room` names the exceptions.
        max_waiting_pixels: Largest number of pixels of these images together; `check_room` names the exceptions.
        max_pixels: Largest number of pixels of an image that the engines decode; a larger image counts as one of this number.
        on_batch: Function that is called with the engine and the size of each batch, in the threads.
        on_drop: Function that is called for each image that was dropped, with the first step that was not done for it.

    Attributes:
        inside: Number of images that wait or are being classified.
    """

    def __init__(
        self,
        *,
        threads: int,
        max_batch: int,
        max_waiting: int,
        max_waiting_pixels: int = 16 * MAX_PIXELS,
        max_pixels: int = MAX_PIXELS,
        on_batch: Callable[[AnyEngine, int], None] = lambda engine, size: None,
        on_drop: Callable[[Step], None] = lambda step: None,
    ) -> None:
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._max_waiting_pixels = max_waiting_pixels
        self._max_pixels = max_pixels
        self._on_batch = on_batch
        self._on_drop = on_drop
        self.inside = 0
        self._pixels = 0.0
        self._closing = False
        self._waiting = WaitingImages(max(max_pixels, threads * LIGHT_PIXELS))
        self._lock = threading.Lock()
        # A thread without work counts itself as idle and waits for an item here: much faster than threading.Condition.
        self._idle = 0
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"classify-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def check_room(self, count: int = 1, pixels: int = 0) -> None:
        """Checks that the images of another request can be admitted now. It admits and reserves nothing.

        An empty queue admits any number of images. Otherwise, a request of at most `LIGHT_PIXELS` pixels is admitted if that
        many images are still free; its pixels are not compared with what is free. A larger request may take at most half of the
        free images, but always one if one is free, and at most half of the free pixels, so that others can be admitted.

        Args:
            count: Number of images of the request.
            pixels: Number of pixels of these images together, as `weigh` counts them.

        Raises:
            OverloadedError: The images cannot be admitted now.
        """
        free, free_pixels = self._max_waiting - self.inside, max(0.0, self._max_waiting_pixels - self._pixels)
        if not self.inside or (count <= free and pixels <= LIGHT_PIXELS):
            return
        if count > free:
            reason = f"{self.inside} images wait and at most {self._max_waiting} may"
        elif count > max(1, free // 2) or pixels > free_pixels / 2:
            reason = (
                f"{self.inside} images of {self._pixels / 1e6:.1f} megapixels wait, and a request may have at most half of the "
                f"{free} images and {free_pixels / 1e6:.1f} megapixels that could still be taken"
            )
        else:
            return
        what = f"{count} more of {pixels / 1e6:.1f} megapixels" if pixels > LIGHT_PIXELS else f"{count} more"
        raise OverloadedError(f"{reason}, so {what} are not taken; ask again in a second")

    def submit(
        self,
        engine: AnyEngine,
        images: Sequence[QueuedData],
        top_k: int | None,
        *,
        features: bool = False,
    ) -> list[QueuedImage]:
        """Adds the images of one request and returns a future for each, which gets its answer or its error.

        Args:
            engine: Engine that will classify the images or texts, or run the tensors.
            images: Bytes of an image file, or a prepared array, for each image; for a `TextEngine` texts, each of which counts
                as an image; for a `TensorEngine` the inputs of one request as arrays by their names, which count as one image.
            top_k: Number of classes in each answer; None takes 5, or all if the model has fewer.
            features: If True, the answers have features.

        Raises:
            OverloadedError: The images cannot be admitted now; see `check_room`. None of them was added.
        """
        queued = [
            QueuedImage(engine, data, top_k, weigh(data, self._max_pixels), self._cancelled, features=features)
            for data in images
        ]
        pixels = sum(image.pixels for image in queued)
        # Of a request that has more than half of all that may wait, half: then some is left for others.
        share = min(1.0, self._max_waiting_pixels / 2 / max(pixels, 1))
        with self._lock:
            self.check_room(len(queued), pixels)
            self.inside += len(queued)
            for image in queued:
                image.counted = image.pixels * share
                self._pixels += image.counted
            self._waiting.add(queued)
            self._wake_threads(len(queued))
        return queued

    def close(self, seconds: float = 10.0) -> None:
        """Ends the threads after they have classified all images that wait. `submit` must not be called afterwards.

        Args:
            seconds: Longest time in seconds to wait for the threads. If some take longer, a warning is logged; they end with
                the process, and images that are not classified by then get no answer.
        """
        with self._lock:
            self._closing = True
            self._wake_threads(self._idle)
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if late := sum(thread.is_alive() for thread in self._threads):
            log.warning("%d threads are still at work after %g s; what they do is lost", late, seconds)

    def _work(self) -> None:
        """Classifies images until the queue is closed; each thread runs it."""
        while (images := self._take()) is not None:
            self._classify(images)
            del images  # An idle thread keeps no images.

    def _take(self) -> list[QueuedImage] | None:
        """Waits for images and returns the next ones, at least one; None once the queue is closed and no image waits."""
        while True:
            with self._lock:
                if (first := self._waiting.take()) is not None:
                    return self._batch(first)
                if self._closing and not self._waiting:
                    self._wake_threads(self._idle)
                    return None
                self._idle += 1
            self._wake.get()

    def _batch(self, first: QueuedImage) -> list[QueuedImage]:
        """Returns `first` and the light images that fit into a batch with it. The caller must hold the lock."""
        images = [first]
        pixels_left = self._max_batch * BATCH_PIXELS - first.pixels
        while len(images) < self._max_batch and (image := self._waiting.take_light(pixels_left)) is not None:
            images.append(image)
            pixels_left -= image.pixels
        return images

    def _wake_threads(self, count: int) -> None:
        """Wakes at most `count` of the idle threads. The caller must hold the lock."""
        for _ in range(min(count, self._idle)):
            self._idle -= 1
            self._wake.put(None)

    def _classify(self, images: Sequence[QueuedImage]) -> None:
        """Decodes images, and answers them in one batch for each engine."""
        batches: dict[AnyEngine, list[tuple[QueuedImage, Any]]] = {}
        for image in images:
            prepared = self._prepare(image)
            if prepared is not None:
                batches.setdefault(image.engine, []).append((image, prepared))
        for engine, batch in batches.items():
            self._answer(engine, batch)

    def _prepare(self, image: QueuedImage) -> Prepared | PreparedTensors | PreparedText | None:
        """Decodes an image. Returns None if it was cancelled, or if it failed, in which case its error is set."""
        try:
            # Checked only now: an image before it may have taken long, and this one was cancelled.
            if not image.set_running_or_notify_cancel():
                self._on_drop("decode")
                return None
            image.begun = time.perf_counter()
            return image.engine.prepare(image.data, top_k=image.top_k, features=image.features)  # type: ignore[arg-type]
        except Exception as error:  # Whatever it is, it is the answer for this image, and the thread goes on.
            self._count_as_done([image])
            _fail([image], error)
            return None
        finally:
            image.decoded = time.perf_counter() if image.begun else 0.0
            image.data = b""
            if image.is_heavy:
                with self._lock:
                    self._waiting.decoded(image)
                    self._wake_threads(1)

    def _answer(self, engine: AnyEngine, prepared: Sequence[tuple[QueuedImage, Any]]) -> None:
        """Runs inference for the images that were not dropped meanwhile, and sets their answers or errors."""
        batch = [(image, pixels) for image, pixels in prepared if not image.dropped]
        if len(batch) < len(prepared):
            gone = [image for image, _ in prepared if image.dropped]
            self._count_as_done(gone)
            for image in gone:
                self._on_drop("infer")
                image.set_exception(CancelledError())
        if not batch:
            return
        self._on_batch(engine, len(batch))
        start = time.perf_counter()
        try:
            answers = engine.answer([pixels for _, pixels in batch])
        except Exception as error:
            _note_inference(batch, start)
            self._count_as_done([image for image, _ in batch])
            _fail([image for image, _ in batch], error)
        else:
            _note_inference(batch, start)
            self._count_as_done([image for image, _ in batch])
            for (image, _), answer in zip(batch, answers, strict=True):
                if isinstance(answer, LogitsError):
                    image.set_exception(answer)
                else:
                    image.set_result(answer)

    def _cancelled(self, image: QueuedImage) -> None:
        """Counts an image as done after it was cancelled."""
        self._count_as_done([image])

    def _count_as_done(self, images: Sequence[QueuedImage]) -> None:
        """Stops counting images.

        This is called before their answers are set, because a client may send its next image as soon as it has an answer.
        """
        with self._lock:
            for image in images:
                if image.counted is not None:
                    self.inside -= 1
                    self._pixels -= image.counted
                    image.counted = None


def _note_inference(batch: Sequence[tuple[QueuedImage, Any]], start: float) -> None:
    """Sets when inference of the images of a batch began, which is `start`, and when it ended, which is now."""
    end = time.perf_counter()
    for image, _ in batch:
        image.inferring, image.inferred = start, end


def _fail(images: Sequence[QueuedImage], error: Exception) -> None:
    """Sets `error` as the outcome of images.

    The traceback loses the frame that caught the error: it refers to the images, which would be a reference cycle.
    """
    error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
    for image in images:
        image.set_exception(error)
