"""The images that wait to be classified, in an order in which a few large requests do not hold up everybody else.

An image costs its pixels, plus a megapixel for all else. Each request gets an equal share of the threads: its images are
ordered by what they and those before them in the request cost, counted from the moment when it came (self-clocked fair
queueing, Golestani 1994). So a photo passes the tenth image of 49 megapixels of a request that came before it, and each image
has its turn once as much work was done for others as it costs.

Heavy images have a share of the threads and of the memory: only as many are decoded at once as have `heavy_pixels` pixels
together. The light ones, of which each thread decodes one at a time, pass them meanwhile.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from hubserve.package.runner import Batch
from hubserve.preprocess.pixel_count import pixel_count
from hubserve.service.engine import Answer, Engine

LIGHT_PIXELS = 16_000_000
"""Most pixels of a light image, or request."""

COMMON_COST = 1_000_000
"""Pixels that take about as long to decode as all else for an image takes, most of it inference."""


class QueuedImage(Future[Answer]):
    """One image that waits, and the future that gets its answer; cancelling it drops the image at any time.

    Args:
        engine: Engine that is to classify the image.
        data: Bytes of the image file, or a prepared array; see `Engine.prepare`.
        top_k: Number of classes in the answer; None for the default.
        pixels: Weight of the image; see `weigh`.
        on_cancel: Called with the image when it is cancelled before a thread began with it.
        features: Whether the answer has features.

    Attributes:
        is_heavy: Whether it has more than LIGHT_PIXELS (16 million) pixels.
        dropped: Whether nobody waits for the answer any more; a thread that has begun leaves the rest undone.
        counted: Pixels that the queue counts for the image; None once it is not in it any more.
        order: Place in the order of all images, the lowest first.
    """

    def __init__(
        self,
        engine: Engine,
        data: bytes | Batch,
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
        self._on_cancel = on_cancel

    def cancel(self) -> bool:
        """Drops the image. Returns whether no thread has begun with it."""
        self.dropped = True
        if not super().cancel():
            return False
        self.data = b""  # It may stay in the queue for a while.
        self._on_cancel(self)
        return True


def weigh(data: bytes | Batch, max_pixels: int) -> int:
    """Number of pixels that an image has once it is decoded, or elements of an array; at most `max_pixels`.

    An image whose header does not say it counts `max_pixels`; one that has more is refused before it is decoded.
    """
    if not isinstance(data, bytes):
        return data.size
    counted = pixel_count(data)
    return max_pixels if counted is None else min(counted, max_pixels)


class WaitingImages:
    """The order of the images that wait. Calls from several threads need a lock.

    Args:
        heavy_pixels: Most pixels of all heavy images that are decoded at once; one of them is at all times.
    """

    def __init__(self, heavy_pixels: int) -> None:
        self._heavy_pixels = heavy_pixels
        self._heavy_at_work = 0
        self._clock = 0.0
        self._count = itertools.count()
        self._light: list[tuple[float, int, QueuedImage]] = []
        self._heavy: list[tuple[float, int, QueuedImage]] = []

    def __bool__(self) -> bool:
        return bool(self._light or self._heavy)

    def add(self, images: Sequence[QueuedImage]) -> None:
        """Adds the images of one request."""
        order = self._clock
        for image in images:
            order += image.pixels + COMMON_COST
            image.order = order
            heapq.heappush(self._heavy if image.is_heavy else self._light, (order, next(self._count), image))

    def take(self) -> QueuedImage | None:
        """The next image; None where none waits, or heavy ones alone, which cannot be begun now."""
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
        """The next light image; None where it has more than `most_pixels` pixels, or none waits."""
        if not self._light or self._light[0][2].pixels > most_pixels:
            return None
        image = heapq.heappop(self._light)[2]
        self._clock = max(self._clock, image.order)
        return image

    def decoded(self, image: QueuedImage) -> None:
        """Notes that the pixels of a heavy image are not held any more."""
        self._heavy_at_work -= image.pixels
