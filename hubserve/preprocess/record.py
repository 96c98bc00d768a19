"""How a picture becomes a tensor: one record per model, used by evaluation, export and serving alike.

A network answers rightly only for pictures prepared as in its training, so the record travels with the weights: in the card,
in the package, and into the service, which never guesses.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

Triple = tuple[float, float, float]

NARROW = 20
"""Long side by short side, beyond which only the middle of a picture is resized; usual pictures are far below."""


class Preprocess(BaseModel):
    """The preparation that a network was trained with: resize, centre crop, channel order, scale, normalise.

    Attributes:
        input_size: side of the square that the network sees, in pixels.
        resize: length to which the shorter side is brought before the crop, in pixels; at least `input_size`.
        interpolation: of the resize; both filter when they shrink (antialias).
        channels: order of the colour planes.
        scale: pixel values 0..255 are divided by it: 255 gives [0, 1], 1 leaves 0..255.
        mean: subtracted after scaling, one per plane in the order of `channels`.
        std: divided by after that, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_size: Annotated[int, Field(gt=0, le=4096)] = 224
    resize: Annotated[int, Field(gt=0, le=8192)] = 256
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    channels: Literal["rgb", "bgr"] = "rgb"
    scale: Annotated[float, Field(gt=0)] = 255.0
    mean: Triple = (0.485, 0.456, 0.406)
    std: Triple = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _usable(self) -> Preprocess:
        if self.resize < self.input_size:
            raise ValueError(
                f"resize = {self.resize} is below input_size = {self.input_size}: the crop would leave the picture"
            )
        if not all(s > 0 for s in self.std) or not all(math.isfinite(v) for v in (*self.mean, *self.std, self.scale)):
            raise ValueError(f"mean = {self.mean}, std = {self.std}: all must be finite, and std above 0")
        return self

    def reference(self, image: Image.Image) -> torch.Tensor:
        """The tensor for an RGB picture, by PIL and torchvision: slow and exact, the truth that faster runners are held to.

        Returns:
            (3, input_size, input_size) float32.
        """
        return self.normalise(torch.from_numpy(np.array(self._square(image))).permute(2, 0, 1))

    def fast(self, pixels: torch.Tensor) -> torch.Tensor:
        """What `reference` gives for the same picture, up to 1/255 in a pixel value before scaling, in a third of the time.

        Args:
            pixels: (3, height, width) uint8, RGB.

        Returns:
            (3, input_size, input_size) float32.
        """
        height, width = pixels.shape[1:]
        if self.interpolation != "bilinear" or _is_narrow(width, height):
            # torch's bicubic resize of 8-bit pictures strays by 2 of 255 in rare places; and it resizes whole pictures only.
            return self.reference(Image.fromarray(pixels.permute(1, 2, 0).numpy()))
        return self.normalise(transforms.center_crop(self._resize(pixels), self.input_size))

    def _resize(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[1:]
        if min(height, width) == self.resize:
            return pixels
        # The longer side is cut to a whole number, as in torchvision.
        size = (
            (self.resize, int(self.resize * width / height))
            if height <= width
            else (int(self.resize * height / width), self.resize)
        )
        return functional.interpolate(pixels[None], size=size, mode="bilinear", antialias=True)[0]

    def _square(self, image: Image.Image) -> Image.Image:
        if _is_narrow(*image.size):
            return self._square_of_narrow(image)
        resized = transforms.resize(image, self.resize, interpolation=InterpolationMode(self.interpolation))
        cropped: Image.Image = transforms.center_crop(resized, self.input_size)
        return cropped

    def _square_of_narrow(self, image: Image.Image) -> Image.Image:
        """The same pixels, without resizing what the crop leaves out: 65,535 x 1 would become 16,776,960 x 256."""
        short, long = sorted(image.size)
        length = int(self.resize * long / short)
        scale = long / length
        begin = round((length - self.input_size) / 2) * scale
        end = begin + self.input_size * scale
        # Bicubic looks at two pixels on each side, of the coarser of the two pictures. So narrow a picture has as many.
        reach = 2 * max(scale, 1) + 1
        first, last = math.floor(begin - reach), math.ceil(end + reach)
        edges: tuple[int, int, int, int] = (first, 0, last, short)
        box: tuple[float, float, float, float] = (begin - first, 0, end - first, short)
        size = (self.input_size, self.resize)
        if image.height > image.width:
            edges, box, size = (0, first, short, last), (0, begin - first, short, end - first), size[::-1]
        resized = image.crop(edges).resize(size, Image.Resampling[self.interpolation.upper()], box=box)
        cropped: Image.Image = transforms.center_crop(resized, self.input_size)
        return cropped

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """The last step alone: channel order, scale, mean and deviation.

        Args:
            pixels: (..., 3, height, width) uint8, RGB.
        """
        planes = pixels.flip(-3) if self.channels == "bgr" else pixels
        mean = torch.tensor(self.mean).view(3, 1, 1)
        std = torch.tensor(self.std).view(3, 1, 1)
        # A decoded picture lies pixel by pixel: laid out plane by plane first, the rest takes a fifth of the time.
        values = torch.empty(planes.shape, dtype=torch.float32).copy_(planes)
        return values.div_(self.scale).sub_(mean).div_(std)


def _is_narrow(width: int, height: int) -> bool:
    return max(width, height) > NARROW * min(width, height)
