"""Preprocessing: the record, its reference runner, and the decoding of whatever people send."""

from __future__ import annotations

import gc
import io

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from pydantic import ValidationError
from torchvision import transforms

from hubserve.errors import ImageError, ImageTooLargeError
from hubserve.preprocess import Preprocess, decode_image, decode_pixels
from tests.service.corpus import wrong_bodies


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return coarse.resize((500, 375), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


class TestReference:
    """The four evaluation configurations, against torchvision's own transforms."""

    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_default_and_bicubic(self, photo, interpolation):
        ours = Preprocess(interpolation=interpolation).reference(photo)
        theirs = transforms.Compose(
            [
                transforms.Resize(256, interpolation=transforms.InterpolationMode(interpolation)),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )(photo)
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)

    @pytest.mark.parametrize("size", [64, 96, 160])
    def test_small_sizes(self, photo, size):
        prepared = Preprocess(input_size=size, resize=int(size / 0.875)).reference(photo)
        assert prepared.shape == (3, size, size)

    def test_bgr_without_normalisation(self, photo):
        plain = Preprocess(scale=1, mean=(0, 0, 0), std=(1, 1, 1))
        rgb = plain.reference(photo)
        bgr = plain.model_copy(update={"channels": "bgr"}).reference(photo)
        assert rgb.max() > 200
        torch.testing.assert_close(bgr, rgb.flip(0))

    def test_scale_and_mean_in_pixel_units(self):
        grey = Image.new("RGB", (300, 300), (255, 127, 0))
        prepared = Preprocess(scale=1, mean=(127, 127, 127), std=(128, 128, 128)).reference(grey)
        assert prepared[:, 0, 0].tolist() == pytest.approx([1.0, 0.0, -127 / 128])

    def test_portrait_is_cropped_in_the_middle(self):
        image = Image.new("RGB", (256, 512), "black")
        image.paste("white", (0, 128, 256, 384))
        prepared = Preprocess(mean=(0, 0, 0), std=(1, 1, 1)).reference(image)
        assert prepared.min() == 1


class TestRecord:
    def test_round_trips_through_json(self):
        record = Preprocess(input_size=96, resize=110, interpolation="bicubic", channels="bgr", scale=1)
        assert Preprocess.model_validate_json(record.model_dump_json()) == record

    @pytest.mark.parametrize(
        "wrong",
        [
            {"resize": 100},
            {"std": (1, 0, 1)},
            {"mean": (float("nan"), 0, 0)},
            {"scale": 0},
            {"interpolation": "nearest"},
            {"input_size": 0},
            {"crop": 224},
        ],
    )
    def test_refuses(self, wrong):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            Preprocess(**wrong)


class TestDecode:
    def test_exif_orientation_is_applied(self):
        image = Image.new("RGB", (40, 20), "red")
        exif = Image.Exif()
        exif[0x0112] = 6
        assert decode_image(encode(image, "JPEG", exif=exif)).size == (20, 40)

    def test_transparency_lies_on_white(self):
        assert decode_image(encode(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
    def test_modes(self, mode):
        assert decode_image(encode(Image.new(mode, (5, 7)))).mode == "RGB"

    def test_cmyk(self):
        assert decode_image(encode(Image.new("CMYK", (8, 8)), "JPEG")).getpixel((3, 3)) == (255, 255, 255)

    def test_16_bit_grey_keeps_its_contrast(self):
        ramp = Image.fromarray(np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16))
        decoded = np.asarray(decode_image(encode(ramp)))
        assert decoded.min() == 0
        assert decoded.max() == 255
        assert abs(decoded[8, 0, 0] - 128) <= 1

    def test_first_frame_of_an_animation(self):
        frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
        data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert decode_image(data).getpixel((0, 0))[0] > 200

    def test_too_many_pixels_are_refused_before_decoding(self):
        with pytest.raises(ImageTooLargeError, match=r"100 x 100 pixels; at most 9,999"):
            decode_image(encode(Image.new("RGB", (100, 100))), max_pixels=9_999)

    def test_bomb_by_header(self):
        header = bytearray(encode(Image.new("RGB", (10, 10))))
        header[16:24] = (60000).to_bytes(4, "big") * 2
        with pytest.raises(ImageError):
            decode_image(bytes(header))

    def test_truncated(self):
        data = encode(Image.effect_noise((200, 200), 60).convert("RGB"), "JPEG")
        with pytest.raises(ImageError, match="not a readable picture"):
            decode_image(data[: len(data) // 2])

    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_picture_or_an_image_error(self, data):
        try:
            mode = decode_image(data).mode
        except ImageError:
            return
        assert mode == "RGB"


def exif_turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image, "JPEG", exif=exif)


KINDS = {
    "jpeg": lambda image: encode(image, "JPEG"),
    "progressive jpeg": lambda image: encode(image, "JPEG", progressive=True, subsampling=0),
    "grey jpeg": lambda image: encode(image.convert("L"), "JPEG"),
    "cmyk jpeg": lambda image: encode(image.convert("CMYK"), "JPEG"),
    "turned jpeg": exif_turned,
    "jpeg with a tail": lambda image: encode(image, "JPEG") + b"tail",
    "png": lambda image: encode(image),
    "palette": lambda image: encode(image.convert("P")),
    "webp": lambda image: encode(image, "WEBP"),
}


class TestFast:
    """The fast runner against the reference: the same pixels, and at most 1 of 255 apart after the resize."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_pixels(self, photo, kind):
        data = KINDS[kind](photo)
        expected = torch.from_numpy(np.array(decode_image(data))).permute(2, 0, 1)
        torch.testing.assert_close(decode_pixels(data), expected, rtol=0, atol=0)

    @pytest.mark.parametrize(
        "record",
        [
            Preprocess(),
            Preprocess(interpolation="bicubic"),
            Preprocess(input_size=96, resize=110),
            Preprocess(channels="bgr", scale=1.0, mean=(0, 0, 0), std=(1, 1, 1)),
        ],
    )
    @given(width=st.integers(1, 700), height=st.integers(1, 700), seed=st.integers(0, 9))
    @settings(max_examples=15, deadline=None)
    def test_any_size(self, record, width, height, seed):
        rng = np.random.default_rng(seed)
        # Noise at the scale of pixels and of areas, as photos have.
        coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        image = Image.fromarray((np.array(coarse) * 0.8 + rng.integers(0, 52, (height, width, 3))).astype(np.uint8))
        fast = record.fast(decode_pixels(encode(image)))
        reference = record.reference(image)
        assert fast.shape == reference.shape
        step = max(1 / (record.scale * deviation) for deviation in record.std)
        assert (fast - reference).abs().max() <= 1.001 * step

    def test_a_broken_off_jpeg_is_refused_as_by_the_reference(self, photo):
        whole = encode(photo, "JPEG")
        for length in (3, 50, len(whole) // 2, len(whole) - 100):
            with pytest.raises(ImageError):
                decode_pixels(whole[:length])

    def test_too_many_pixels(self, photo):
        with pytest.raises(ImageTooLargeError, match="500 x 375"):
            decode_pixels(encode(photo, "JPEG"), max_pixels=100_000)

    @given(st.data())
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_damaged_jpegs_are_answered_or_refused(self, photo, data):
        whole = bytearray(encode(photo, "JPEG", quality=40))
        for _ in range(data.draw(st.integers(1, 8))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        try:
            pixels = decode_pixels(bytes(whole))
        except ImageError:
            return
        assert pixels.dtype == torch.uint8
        assert pixels.shape[0] == 3


@pytest.mark.parametrize("name", ["large webp without its pixels", "huge png", "half a png", "half a jpeg", "png bomb"])
def test_an_error_that_is_kept_keeps_no_picture(name):
    (body,) = (body for body in wrong_bodies() if body.name == name)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ImageError) as kept:
            decode_image(body.data)
        assert kept.value.__traceback__
        assert not [found for found in gc.get_objects() if isinstance(found, ImageFile.ImageFile)]
    finally:
        gc.enable()
