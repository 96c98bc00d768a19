"""How an image becomes a network's input: one record per model, used by training, evaluation, export and serving alike.

A network answers rightly only for images prepared as in its training, so the record travels with the weights: in the card,
in the package, and into the service, which never guesses.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as pillow_version
from pydantic import BaseModel, ConfigDict, Field, model_validator

Triple = tuple[float, float, float]

Fit = Literal["crop", "pad", "squash"]
"""How an image becomes the square that a network takes: its centre, all of it with a border, or all of it with its sides
scaled differently."""

LONGEST_RATIO = 20
"""Aspect ratio (longer side / shorter side) from which `reference` crops an image before it resizes it, to bound the work.

Its usual order, resize then crop, would make an image of 65,535 x 1 pixels thousands of times larger."""

MOST_EXTRA = 32
"""Largest number of pixels beyond each end of the crop that are resized too, to end at whole source pixels; see `_side`."""

_PILLOW = int(pillow_version.partition(".")[0])


class _Side(NamedTuple):
    """The region of one image side (width or height) that is read and resized.

    Attributes:
        needed: Source pixels that the resize reads, filter support included.
        begin: First coordinate of the resized region, in source pixels from the start of `needed`; may be fractional.
        end: End coordinate of the region, likewise.
        length: Length of the region after the resize, in pixels.
        kept: The pixels of the crop, within those.
    """

    needed: slice
    begin: float
    end: float
    length: int
    kept: slice


class Preprocess(BaseModel):
    """The preparation that a network was trained with: resize to a square, channel order, scale, normalise.

    Attributes:
        input_size: Side in pixels of the square that the network takes, 1 to 4096.
        resize: Length in pixels to which the shorter side is resized before the crop; at least `input_size`, at most 8192. It
            has no effect with `fit` "pad" or "squash".
        fit: How an image becomes a square. "crop" resizes its shorter side to `resize` and takes the centre, which cuts off the
            ends of long images. "pad" resizes its longer side to `input_size` and adds a border in the colour `border`.
            "squash" resizes both sides to `input_size`, which distorts all images that are not square.
        interpolation: Filter of the resize; both kinds average over several pixels when they shrink an image (antialiasing).
        channels: Order of the colour planes.
        scale: Number by which pixel values 0..255 are divided: 255 gives [0, 1], 1 leaves 0..255.
        mean: Numbers subtracted after scaling, one per plane in the order of `channels`.
        std: Numbers divided by after that, one per plane in the order of `channels`; above 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: Annotated[int, Field(gt=0, le=4096)] = 224
    resize: Annotated[int, Field(gt=0, le=8192)] = 256
    fit: Fit = "crop"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: Annotated[float, Field(gt=0)] = 255.0
    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _usable(self) -> Preprocess:
        if self.resize < self.input_size:
            raise ValueError(
                f"resize = {self.resize} is below input_size = {self.input_size}: the crop would be larger than the image"
            )
        if not all(s > 0 for s in self.std) or not all(math.isfinite(v) for v in (*self.mean, *self.std, self.scale)):
            raise ValueError(f"mean = {self.mean}, std = {self.std}: all must be finite, and std above 0")
        return self

    def reference(self, image: Image.Image) -> NDArray[np.float32]:
        """The network's input for an RGB image: the exact preparation, which faster ones are compared with.

        With `fit` "crop", it is what torchvision's Resize and CenterCrop make of the image. Of one whose longer side is over
        LONGEST_RATIO times the shorter only the middle is resized, as in `fast`: whole, 65,535 x 1 pixels would become
        16,776,960 x 256.

        Returns:
            (3, input_size, input_size) float32.
        """
        if self.fit != "crop" or _is_long(*image.size):
            return self.fast(np.asarray(image))
        size = self._resized_size(image.size)
        resized = image if size == image.size else image.resize(size, self._filter)
        left, top = (round((length - self.input_size) / 2) for length in size)
        square = resized.crop((left, top, left + self.input_size, top + self.input_size))
        return self.normalise(np.asarray(square).transpose(2, 0, 1))

    def fast(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What `reference` gives for the same image, up to 1/255 in a pixel value before scaling, in half of the time.

        Args:
            pixels: (height, width, 3) uint8, RGB.

        Returns:
            (3, input_size, input_size) float32.
        """
        return self.normalise(self.square(pixels).transpose(2, 0, 1))

    def square(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The pixels that the network sees, before they are normalised: resized and cropped or padded, as in `fast`.

        Only the part of the image that is kept is resized.

        Args:
            pixels: (height, width, 3) uint8, RGB.

        Returns:
            (input_size, input_size, 3) uint8, RGB.
        """
        if self.fit != "crop":
            return self._whole(Image.fromarray(pixels))
        height, width = pixels.shape[:2]
        size = self._resized_size((width, height))
        vertical_first = _is_vertical_first((width, height), size)
        # What differs by 1 after the first direction could differ by 2 after the second: where both are inexact, and
        # for bicubic, whose weights are larger than 1 together, where the first one is.
        exact_first, whole = self.interpolation == "bicubic", not _is_long(width, height)
        x = self._side(width, size[0], exact=whole and (width <= height or (exact_first and not vertical_first)))
        y = self._side(height, size[1], exact=whole and (height <= width or (exact_first and vertical_first)))
        part = Image.fromarray(pixels[y.needed, x.needed])
        # Pillow rounds to 8 bits between the two directions. One at a time, so that the order is that of the whole image.
        for vertical in (True, False) if vertical_first else (False, True):
            if vertical:
                part = part.resize((part.width, y.length), self._filter, (0, y.begin, part.width, y.end))
            else:
                part = part.resize((x.length, part.height), self._filter, (x.begin, 0, x.end, part.height))
        return np.array(part)[y.kept, x.kept]

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The last step alone: channel order, scale, mean and deviation.

        Args:
            pixels: (..., 3, height, width) uint8, RGB.

        Returns:
            The same shape, float32.
        """
        planes = pixels[..., ::-1, :, :] if self.channels == "bgr" else pixels
        mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in (self.mean, self.std))
        # Decoded pixels lie channel by channel: laid out plane by plane first, the rest is faster.
        values = np.empty(planes.shape, np.float32)
        values[...] = planes
        values /= np.float32(self.scale)
        values -= mean
        values /= std
        return values

    @property
    def border(self) -> tuple[int, int, int]:
        """Colour, RGB, of what "pad" adds: the nearest one to the mean, which is about 0 for the network."""
        colour = [round(min(max(value * self.scale, 0), 255)) for value in self.mean]
        red, green, blue = colour if self.channels == "rgb" else colour[::-1]
        return red, green, blue

    def _whole(self, image: Image.Image) -> NDArray[np.uint8]:
        """The square of all of an image, for "pad" and "squash"."""
        side = self.input_size
        if self.fit == "squash":
            return np.array(image.resize((side, side), self._filter))
        longer = max(image.size)
        width, height = (max(1, round(length * side / longer)) for length in image.size)
        square = Image.new("RGB", (side, side), self.border)
        square.paste(image.resize((width, height), self._filter), ((side - width) // 2, (side - height) // 2))
        return np.array(square)

    @property
    def _filter(self) -> Image.Resampling:
        return Image.Resampling[self.interpolation.upper()]

    def _resized_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the whole image after the resize; the longer side is cut to a whole number, as in torchvision."""
        width, height = size
        longer = int(self.resize * max(size) / min(size))
        return (self.resize, longer) if width <= height else (longer, self.resize)

    def _side(self, length: int, resized: int, *, exact: bool) -> _Side:
        """What is resized of a side of `length` pixels that, as a whole, would have `resized` pixels afterwards."""
        scale = length / resized
        crop = round((resized - self.input_size) / 2)
        first, last = crop, crop + self.input_size
        # Pillow keeps the ends as float32. Where more pixels make them exact numbers, all values are those of the whole image.
        divisor = resized // math.gcd(length, resized)
        odd = divisor // (divisor & -divisor)
        if exact or odd <= MOST_EXTRA:
            first, last = first // odd * odd, min(-(-last // odd) * odd, resized)
        begin, end = first * scale, min(last * scale, length)
        # Bicubic looks at two pixels on each side, those of the image or of the result, whichever are larger.
        reach = 2 * max(scale, 1) + 1
        low, high = max(math.floor(begin - reach), 0), min(math.ceil(end + reach), length)
        kept = slice(crop - first, crop - first + self.input_size)
        return _Side(slice(low, high), begin - low, end - low, last - first, kept)


def _is_long(width: int, height: int) -> bool:
    return max(width, height) > LONGEST_RATIO * min(width, height)


def _is_vertical_first(size: tuple[int, int], resized: tuple[int, int]) -> bool:
    """Returns whether Pillow resizes the height of an image before its width.

    Pillow 13 and later do so if the height loses more than twice as many pixels as the width, or any if the width does not
    shrink; earlier versions never do.

    Args:
        size: Width and height before the resize.
        resized: Width and height after it.
    """
    width, height = (before - after for before, after in zip(size, resized, strict=True))
    return _PILLOW >= 13 and height > max(0, 2 * width)
