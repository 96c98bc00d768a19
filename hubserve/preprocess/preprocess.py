"""Prepares images as a network's input: the record `Preprocess` holds the settings and has the methods that apply them.

A network is accurate only for images that are prepared as in its training. So each model has one record, which training,
evaluation, export and the service share; it is stored in the model's card and in its package.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as pillow_version
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hubserve.preprocess.resampling import Interpolation, direction, resize_region

Triple = tuple[float, float, float]

Fit = Literal["crop", "pad", "squash"]
"""How an image becomes a square: "crop" takes its centre, "pad" adds a border to the whole image, and "squash" scales width and
height of the whole image by different factors."""

LONGEST_RATIO = 20
"""Aspect ratio (longer side / shorter side) above which `reference` crops an image before it resizes it.

In the usual order, resize then crop, an image of 65,535 x 1 pixels would be resized to 16,776,960 x 256."""

_PILLOW = int(pillow_version.partition(".")[0])


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
    interpolation: Interpolation = "bilinear"
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

        With `fit` "crop", the pixels are those of torchvision's Resize and CenterCrop. If the longer side is more than
        `LONGEST_RATIO` times the shorter one, only the middle of the image is resized, and pixels may differ from those by 1 of
        255.

        Args:
            image: Image in mode "RGB".

        Returns:
            (3, input_size, input_size) float32.
        """
        if self.fit != "crop":
            return self.normalise(self._whole(image).transpose(2, 0, 1))
        width, height = self._resized_size(image.size)
        if max(image.size) > LONGEST_RATIO * min(image.size):
            resized = self._resized_middle(image)
        else:
            resized = image if (width, height) == image.size else image.resize((width, height), self._filter)
        left, top = (round((length - self.input_size) / 2) for length in resized.size)
        square = resized.crop((left, top, left + self.input_size, top + self.input_size))
        return self.normalise(np.asarray(square).transpose(2, 0, 1))

    def fast(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns the network's input for an image in less than half of the time of `reference`, with almost the same values.

        Before the division by `scale`, a pixel value differs from that of `reference` by at most 1 of 255.

        Args:
            pixels: The image, (height, width, 3) uint8, RGB.

        Returns:
            (3, input_size, input_size) float32.
        """
        if self.fit != "crop":
            return self.normalise(self.square(pixels).transpose(2, 0, 1))
        return self._scaled(self._cropped(pixels, (2, 1, 0) if self.channels == "bgr" else (0, 1, 2)))

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
        return np.ascontiguousarray(self._cropped(pixels).astype(np.uint8).transpose(1, 2, 0))

    def normalise(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Applies `channels`, `scale`, `mean` and `std` to pixels: the last step of the preparation.

        Args:
            pixels: One or more images, (..., 3, height, width) uint8, RGB.

        Returns:
            float32 array of the same shape.
        """
        planes = pixels[..., ::-1, :, :] if self.channels == "bgr" else pixels
        # Decoded pixels lie channel by channel: laid out plane by plane first, the rest is faster.
        values = np.empty(planes.shape, np.float32)
        values[...] = planes
        return self._scaled(values)

    def _scaled(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Applies `scale`, `mean` and `std` to pixel values, (..., 3, height, width), in place, and returns them."""
        mean, std = (np.array(numbers, np.float32).reshape(3, 1, 1) for numbers in (self.mean, self.std))
        values /= np.float32(self.scale)
        values -= mean
        values /= std
        return values

    @property
    def border(self) -> tuple[int, int, int]:
        """The RGB colour of the border that "pad" adds: `mean` times `scale`, rounded and limited to 0..255.

        Where it is not limited, it is about 0 in the network's input.
        """
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

    def _resized_middle(self, image: Image.Image) -> Image.Image:
        """Returns the middle of a long image: `resize` pixels along its shorter side, `input_size` along its longer one."""
        longer, resized = max(image.size), max(self._resized_size(image.size))
        scale = longer / resized
        begin = round((resized - self.input_size) / 2) * scale
        end = min(begin + self.input_size * scale, longer)
        # Bicubic looks at two pixels on each side, those of the image or of the result, whichever are larger.
        reach = 2 * max(scale, 1) + 1
        low, high = max(math.floor(begin - reach), 0), min(math.ceil(end + reach), longer)
        wide = image.width > image.height
        part = image.crop((low, 0, high, image.height) if wide else (0, low, image.width, high))
        # One direction at a time, in the order in which the whole image would be resized: Pillow rounds between them.
        vertical_first = _is_vertical_first(image.size, self._resized_size(image.size))
        box: tuple[float, float, float, float]
        for vertical in (True, False) if vertical_first else (False, True):
            if vertical:
                box = (0.0, 0.0, part.width, part.height) if wide else (0.0, begin - low, part.width, end - low)
                part = part.resize((part.width, self.resize if wide else self.input_size), self._filter, box)
            else:
                box = (begin - low, 0.0, end - low, part.height) if wide else (0.0, 0.0, part.width, part.height)
                part = part.resize((self.input_size if wide else self.resize, part.height), self._filter, box)
        return part

    def _cropped(self, pixels: NDArray[np.uint8], channels: tuple[int, int, int] = (0, 1, 2)) -> NDArray[np.float32]:
        """Returns the crop of the resized image as whole numbers, (3, input_size, input_size), for `fit` "crop".

        `channels` has the indices of the channels of `pixels` in the order of the result.
        """
        height, width = pixels.shape[:2]
        size = self._resized_size((width, height))
        x, y = (
            direction(before, after, round((after - self.input_size) / 2), self.input_size, self.interpolation)
            for before, after in zip((width, height), size, strict=True)
        )
        return resize_region(pixels, x, y, vertical_first=_is_vertical_first((width, height), size), channels=channels)

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
