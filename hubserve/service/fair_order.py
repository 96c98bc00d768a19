"""Decides in which order waiting images are decoded, so that a few large requests do not delay all others.

An image costs as many units as it has pixels, plus `COMMON_COST` for everything else that is done for it. Each request gets an
equal share of the threads (self-clocked fair queueing, Golestani 1994): the place of an image in the order is the clock when
its request came, plus the cost of the image and of those before it in the request. The clock is the largest place of all images
that were taken. So a small photo is taken before the tenth image of 49 megapixels of an earlier request, and a large image is
taken as soon as work of its cost was done for others.

Heavy images, which have more than `LIGHT_PIXELS` pixels, may use only a part of the threads and of the memory: those that are
decoded at the same time have at most `heavy_pixels` pixels together. Meanwhile the other threads take light images.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from hubserve.package.runner import Batch
from hubserve.package.signature import Array
from hubserve.preprocess.pixel_count import pixel_count
from hubserve.service.engine import Answer
from hubserve.service.tensor_engine import TensorAnswer
from hubserve.service.text_engine import AnyEngine

LIGHT_PIXELS = 16_000_000
"""Largest number of pixels of a light image, and of a light request."""

COMMON_COST = 1_000_000
"""Number of pixels whose decoding takes about as long as everything else that is done for an image, mostly inference."""


QueuedData = bytes | Batch | Mapping[str, Array] | str
"""What waits: the bytes of an image file, a prepared image, the tensors of a request by their names, or a text."""


class QueuedImage(Future[Answer | TensorAnswer]):
    """A waiting image or text, or the waiting tensors of a request, and the future that gets the answer.

    Cancelling the future drops the image at any time.

    Args:
        engine: Engine that will classify the image or the text, or run the tensors.
        data: Bytes of the image file, or a prepared array; see `Engine.prepare`. Tensors are arrays by their names.
        top_k: Number of classes in the answer; None takes 5, or all if the model has fewer.
        pixels: Number of pixels from `weigh`.
        on_cancel: Function that is called with the image if it is cancelled before a thread has begun to decode it.
        features: If True, the answer has features.

    Attributes:
        is_heavy: True if the image has more than `LIGHT_PIXELS` pixels.
        dropped: True once the future was cancelled. A thread that has begun with the image then skips its remaining steps.
        counted: Number of pixels by which the queue counts the image; None if the queue does not count it.
        order: Place in the order of all images; the image with the lowest place is taken first.
        submitted: When the image was submitted, by `time.perf_counter`, as are the following times.
        begun: When a thread began to decode the image; 0 before that.
        decoded: When the image was decoded and preprocessed, or this failed; 0 before that.
        inferring: When inference of its batch began; 0 before that.
        inferred: When inference of its batch ended, or failed; 0 before that.
    """

    def __init__(
        self,
        engine: AnyEngine,
        data: QueuedData,
        top_k: int | None,
        pixels: int,
        on_cancel: Callable[[QueuedImage], None],
        *,
        features: bool = False,
    ) -> None:
        super().__init__()
        self.engine, self.data, self.top_k, self.pixels, self.features = engine, data, top_k, pixels, features
        self.is_heavy = pixels > LIGHT_PIXELS
        self.dropped = False
        self.counted: float | None = None
        self.order = 0.0
        self.submitted = time.perf_counter()
        self.begun = self.decoded = self.inferring = self.inferred = 0.0
        self._on_cancel = on_cancel

    @property
    def steps(self) -> list[tuple[str, float, float]]:
        """The name, start and end of each step that was done, of "queue", "decode" and "infer", in this order."""
        steps = (
            ("queue", self.submitted, self.begun),
            ("decode", self.begun, self.decoded),
            ("infer", self.inferring, self.inferred),
        )
        return [step for step in steps if step[2]]

    def cancel(self) -> bool:
        """Drops the image. Returns True if no thread has begun with it, False otherwise."""
        self.dropped = True
        if not super().cancel():
            return False
        self.data = b""  # It may stay in the queue for a while.
        self._on_cancel(self)
        return True


def weigh(data: QueuedData, max_pixels: int) -> int:
    """Returns the number of pixels that an image has after decoding, at most `max_pixels`.

    For arrays, it is the number of their elements, and for a text that of its characters, both without this limit. An image
    whose header does not contain its size gets `max_pixels`. So does an image with more pixels, which will be refused before it
    is decoded. Bytes in no known format of images get 0.

    Args:
        data: Bytes of an image file, a prepared array, arrays by their names, or a text.
        max_pixels: Largest number of pixels of an image that the service decodes.
    """
    if isinstance(data, bytes):
        counted = pixel_count(data)
        return max_pixels if counted is None else min(counted, max_pixels)
    if isinstance(data, str):
        return len(data)
    return sum(array.size for array in data.values()) if isinstance(data, Mapping) else data.size


class WaitingImages:
    """The images that wait, ordered as the docstring of this module describes. The caller must hold a lock during each call.

    Args:
        heavy_pixels: Largest number of pixels of all heavy images together that are being decoded. One heavy image may always
            be decoded, even if it has more.
    """

    def __init__(self, heavy_pixels: int) -> None:
        self._heavy_pixels = heavy_pixels
        self._heavy_at_work = 0
        self._clock = 0.0
        self._count = itertools.count()
        self._light: list[tuple[float, int, QueuedImage]] = []
        self._heavy: list[tuple[float, int, QueuedImage]] = []

    def __bool__(self) -> bool:
        """Returns True if any image waits."""
        return bool(self._light or self._heavy)

    def add(self, images: Sequence[QueuedImage]) -> None:
        """Adds the images of one request. Each gets its place in the order of all images."""
        order = self._clock
        for image in images:
            order += image.pixels + COMMON_COST
            image.order = order
            heapq.heappush(self._heavy if image.is_heavy else self._light, (order, next(self._count), image))

    def take(self) -> QueuedImage | None:
        """Removes and returns the next image.

        Returns None if no image waits, or if only heavy images wait and those that are being decoded leave no share for them.
        The caller must report a heavy image by `decoded` once it was decoded.
        """
        heavy_fits = self._heavy and (
            not self._heavy_at_work or self._heavy_at_work + self._heavy[0][2].pixels <= self._heavy_pixels
        )
        if heavy_fits and not (self._light and self._light[0] < self._heavy[0]):
            image = heapq.heappop(self._heavy)[2]
            self._heavy_at_work += image.pixels
        elif self._light:
            image = heapq.heappop(self._light)[2]
        else:
            return None
        self._clock = max(self._clock, image.order)
        return image

    def take_light(self, most_pixels: int) -> QueuedImage | None:
        """Removes and returns the next light image; None if none waits, or if it has more than `most_pixels` pixels."""
        if not self._light or self._light[0][2].pixels > most_pixels:
            return None
        image = heapq.heappop(self._light)[2]
        self._clock = max(self._clock, image.order)
        return image

    def decoded(self, image: QueuedImage) -> None:
        """Gives back the share of a heavy image that `take` has returned, after it was decoded or failed."""
        self._heavy_at_work -= image.pixels
