"""How a picture becomes a tensor: one record per model, used by evaluation, export and serving alike.

A network answers rightly only for pictures prepared as in its training, so the record travels with the weights: in the card,
in the package, and into the service, which never guesses.
"""

from __future__ import annotations

import io
import math
import warnings
from typing import Annotated, Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from hubserve.errors import ImageError, ImageTooLargeError

Triple = tuple[float, float, float]

MAX_PIXELS = 50_000_000
"""Default limit of width x height for a picture, checked before its pixels are decoded."""


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
        return self._normalise(torch.from_numpy(np.array(self._square(image))).permute(2, 0, 1))

    def _square(self, image: Image.Image) -> Image.Image:
        resized = transforms.resize(image, self.resize, interpolation=InterpolationMode(self.interpolation))
        cropped: Image.Image = transforms.center_crop(resized, self.input_size)
        return cropped

    def _normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        planes = pixels.flip(0) if self.channels == "bgr" else pixels
        mean = torch.tensor(self.mean).view(3, 1, 1)
        std = torch.tensor(self.std).view(3, 1, 1)
        return (planes.to(torch.float32) / self.scale - mean) / std


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture in `data` as 8-bit RGB, turned upright by its EXIF orientation; the first frame of an animation.

    Transparent parts are laid on white; 16-bit and floating point greys are brought to 8 bits by their range.

    Raises:
        ImageTooLargeError: more than `max_pixels` pixels; found out before they are decoded.
        ImageError: not a picture that Pillow reads, or broken off.
    """
    try:
        # Our own limit replaces Pillow's, which warns first and raises later.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
        _check_pixels(image, max_pixels)
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's limit, met while it opens the picture: far above ours by default.
        limit = min(max_pixels, 2 * (Image.MAX_IMAGE_PIXELS or max_pixels))
        raise ImageTooLargeError(
            f"the picture has too many pixels ({error}); at most {limit:,} are allowed: send a smaller one"
        ) from error
    except Exception as error:  # Pillow's decoders raise almost anything on hostile bytes.
        raise ImageError(
            f"{len(data)} bytes that are not a readable picture ({_reason(error)}); send a JPEG, PNG, WebP, GIF, BMP or TIFF"
        ) from error


def _reason(error: Exception) -> str:
    return "of no known kind" if isinstance(error, UnidentifiedImageError) else f"{type(error).__name__}: {error}"


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"the picture has {width} x {height} pixels; at most {max_pixels:,} are allowed: send a smaller one"
        )


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _grey_to_8_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit greys to 255 when it converts them; a picture keeps its contrast when divided by its type's range."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode == "F":
        top = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0
    else:
        top = 65535.0 if values.max(initial=0.0) > 255 or image.mode.startswith("I;16") else 255.0
    return Image.fromarray(np.clip(np.nan_to_num(values) / top * 255.0, 0, 255).round().astype(np.uint8))
