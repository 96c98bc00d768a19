"""Prepares images as a network's input: the record `Preprocess` holds the settings and has the methods that apply them.

A network is accurate only for images that are prepared as in its training. So each model has one record, which training,
evaluation, export and the service share; it is stored in the model's card and in its package.
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
"""How an image becomes a square: "crop" takes its centre, "pad" adds a border to the whole image, and "squash" scales width and
height of the whole image by different factors."""

LONGEST_RATIO = 20
"""Aspect ratio (longer side / shorter side) above which `reference` crops an image before it resizes it.

In the usual order, resize then crop, an image of 65,535 x 1 pixels would be resized to 16,776,960 x 256."""

MOST_EXTRA = 32
"""Largest number of pixels that are resized in addition at each end of the crop, so that the resized region begins and ends at
whole source pixels; see `_side`."""

_PILLOW = int(pillow_version.partition(".")[0])


class _Side(NamedTuple):
    """The region of one image side (width or height) that is read and resized.

    Attributes:
        needed: Range of source pixels that the resize reads, including those that the filter reads beyond the region.
        begin: Start coordinate of the region, in source pixels from the start of `needed`; may be fractional.
        end: End coordinate of the region, in source pixels from the start of `needed`; may be fractional.
        length: Length of the region after the resize, in pixels.
        kept: Range of the resized pixels that belongs to the crop.
    """

    needed: slice
    begin: float
    end: float
    length: int
    kept: slice


class Preprocess(BaseModel):
    """The preparation of images for a network: resize to a square, order of the channels, scale, normalisation.

    Values that break the limits below raise a ValueError (pydantic's ValidationError).

    Attributes:
        input_size: Side in pixels of the square that the network takes, 1 to 4096.
        resize: Length in pixels to which the shorter side is resized before the crop; at least `input_size`, at most 8192. It
            has no effect if `fit` is "pad" or "squash".
        fit: How an image becomes a square. "crop" resizes its shorter side to `resize` and takes the centre, which cuts off the
            ends of long images. "pad" resizes its longer side to `input_size` and adds a border in the colour `border`.
            "squash" resizes both sides to `input_size`, which distorts all images that are not square.
        interpolation: Filter of the resize, with antialiasing: when an image shrinks, each pixel is an average of several.
        channels: Order of the colour channels in the input of the network.
        scale: Number above 0 by which pixel values 0..255 are divided: 255 gives [0, 1], 1 leaves 0..255.
        mean: Numbers that are subtracted after the division by `scale`, one per channel in the order of `channels`.
        std: Numbers above 0 by which the differences are divided, one per channel in the order of `channels`.
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
        """Returns the network's input for an image, by the exact preparation with which faster ones are compared.

        With `fit` "crop", the pixels are those of torchvision's Resize and CenterCrop, unless the longer side is more than
        `LONGEST_RATIO` times the shorter one. Such images, and all images with another `fit`, are prepared by `fast`.

        Args:
            image: Image in mode "RGB".

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
        """Returns the network's input for an image in half of the time of `reference`, with almost the same values.

        Before the division by `scale`, a pixel value differs from that of `reference` by at most 1 of 255.

        Args:
            pixels: The image, (height, width, 3) uint8, RGB.

        Returns:
            (3, input_size, input_size) float32.
        """
        return self.normalise(self.square(pixels).transpose(2, 0, 1))

    def square(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the image as a square of `input_size` pixels, as `fit` says: the step of `fast` before `normalise`.

        With `fit` "crop", only the part of the image that the crop keeps is resized.

        Args:
            pixels: The image, (height, width, 3) uint8, RGB.

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
        """Applies `channels`, `scale`, `mean` and `std` to pixels: the last step of the preparation.

        Args:
            pixels: One or more images, (..., 3, height, width) uint8, RGB.

        Returns:
            float32 array of the same shape.
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
        """The RGB colour of the border that "pad" adds: `mean` as a colour, which is about 0 in the network's input."""
        colour = [round(min(max(value * self.scale, 0), 255)) for value in self.mean]
        red, green, blue = colour if self.channels == "rgb" else colour[::-1]
        return red, green, blue

    def _whole(self, image: Image.Image) -> NDArray[np.uint8]:
        """Returns the whole image as a square, (input_size, input_size, 3) uint8, for `fit` "pad" and "squash"."""
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
        """Returns width and height to which "crop" resizes a whole image of width and height `size`.

        The shorter side becomes `resize`; the longer one is rounded down to a whole number, as in torchvision.
        """
        width, height = size
        longer = int(self.resize * max(size) / min(size))
        return (self.resize, longer) if width <= height else (longer, self.resize)

    def _side(self, length: int, resized: int, *, exact: bool) -> _Side:
        """Returns the region of one side of the image that must be resized to get the pixels of the crop.

        Args:
            length: Length of the whole side in source pixels.
            resized: Length that the whole side would have after the resize.
            exact: Whether the region must begin and end at whole source pixels, so that all values are those that a resize of
                the whole side gives. If False, it does so only where this adds at most `MOST_EXTRA` pixels at each end.
        """
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
