"""Preprocessing: the record, its reference runner, and the decoding of whatever people send."""

from __future__ import annotations

import gc
import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from pydantic import ValidationError
from torchvision import transforms

from hubserve.errors import ImageError, ImageTooLargeError
from hubserve.preprocess import Preprocess, decode_image, decode_pixels
from hubserve.preprocess.decode_limits import check_scans
from hubserve.preprocess.rgb_image import load_rgb
from tests.service.corpus import jpeg_of_scans, tiff_of_tiles, wrong_bodies


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
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=2e-6)

    @pytest.mark.parametrize("size", [64, 96, 160])
    def test_small_sizes(self, photo, size):
        prepared = Preprocess(input_size=size, resize=int(size / 0.875)).reference(photo)
        assert prepared.shape == (3, size, size)

    def test_bgr_without_normalisation(self, photo):
        plain = Preprocess(scale=1, mean=(0, 0, 0), std=(1, 1, 1))
        rgb = plain.reference(photo)
        bgr = plain.model_copy(update={"channels": "bgr"}).reference(photo)
        assert rgb.max() > 200
        np.testing.assert_array_equal(bgr, rgb[::-1])

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

    @pytest.mark.parametrize(
        "values",
        [
            np.arange(65_536, dtype=np.uint16),
            np.arange(256, dtype=np.uint16),
            np.arange(-1000, 66_000, dtype=np.int32),
            np.arange(-10, 200, dtype=np.int32),
            np.random.default_rng(0).uniform(-0.1, 1, 5000).astype(np.float32),
            np.random.default_rng(1).uniform(-9, 300, 5000).astype(np.float32),
            np.array([np.nan, np.inf, -np.inf, 0.5, 3e38], np.float32),
            np.random.default_rng(2).integers(0, 65_536, 2**20 + 5).astype(np.uint16),
        ],
        ids=lambda values: f"{values.dtype}-{len(values)}",
    )
    def test_greys_as_in_double_precision(self, values):
        exact = values.astype(np.float64)
        top = 1.0 if values.dtype == np.float32 else 65535.0
        with np.errstate(over="ignore"):
            expected = np.clip(np.nan_to_num(exact) / top * 255, 0, 255).round().astype(np.uint8)
        found = load_rgb(Image.fromarray(values[None])).getchannel(0)
        np.testing.assert_array_equal(np.asarray(found)[0], expected)

    def test_greys_take_little_memory(self):
        image = Image.fromarray(np.zeros((2000, 2000), np.uint16))
        tracemalloc.start()
        try:
            load_rgb(image)
            # Double precision took 24 bytes a pixel and more.
            assert tracemalloc.get_traced_memory()[1] < 16 * 4e6
        finally:
            tracemalloc.stop()

    def test_first_frame_of_an_animation(self):
        frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
        data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert decode_image(data).getpixel((0, 0))[0] > 200

    def test_too_many_pixels_are_refused_before_decoding(self):
        with pytest.raises(ImageTooLargeError, match=r"100 x 100 pixels; at most 9,999"):
            decode_image(encode(Image.new("RGB", (100, 100))), max_pixels=9_999)

    def test_too_long_a_side(self):
        with pytest.raises(ImageTooLargeError, match=r"65536 x 1 pixels; .* 65,535 on a side"):
            decode_image(encode(Image.new("RGB", (65_536, 1))))

    def test_bomb_by_header(self):
        header = bytearray(encode(Image.new("RGB", (10, 10))))
        header[16:24] = (60000).to_bytes(4, "big") * 2
        with pytest.raises(ImageError):
            decode_image(bytes(header))

    def test_truncated(self):
        data = encode(Image.effect_noise((200, 200), 60).convert("RGB"), "JPEG")
        with pytest.raises(ImageError, match="not a readable image"):
            decode_image(data[: len(data) // 2])

    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_image_or_an_image_error(self, data):
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
        np.testing.assert_array_equal(decode_pixels(data), np.asarray(decode_image(data)))

    @pytest.mark.parametrize(
        "record",
        [
            Preprocess(),
            Preprocess(interpolation="bicubic"),
            Preprocess(input_size=96, resize=110),
            Preprocess(input_size=96, resize=110, interpolation="bicubic"),
            Preprocess(input_size=64, resize=64),
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
        assert np.abs(fast - reference).max() <= 1.001 * step

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
    def test_corrupt_jpegs_are_answered_or_refused(self, photo, data):
        whole = bytearray(encode(photo, "JPEG", quality=40))
        for _ in range(data.draw(st.integers(1, 8))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        try:
            pixels = decode_pixels(bytes(whole))
        except ImageError:
            return
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3


class TestNarrow:
    """Images that are much longer than wide: only their middle is resized, to the same pixels."""

    @pytest.mark.parametrize(
        "size", [(3000, 1), (1, 3000), (2000, 97), (97, 2000), (7001, 350), (11, 4999), (9000, 256), (21, 1)]
    )
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_as_if_all_of_it_were_resized(self, size, interpolation):
        record = Preprocess(input_size=28, resize=32, interpolation=interpolation, scale=1, mean=(0, 0, 0), std=(1, 1, 1))
        rng = np.random.default_rng(size[0])
        image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        whole = transforms.Compose(
            [transforms.Resize(32, transforms.InterpolationMode(interpolation)), transforms.CenterCrop(28)]
        )(image)
        expected = np.array(whole).transpose(2, 0, 1).astype(np.float32)
        reference = record.reference(image)
        fast = record.fast(np.asarray(image))
        assert np.abs(reference - expected).max() <= 1
        assert (reference == expected).mean() > 0.99
        assert np.abs(fast - expected).max() <= 1
        # Enlarged 32 times, many sums lie exactly between two numbers, which `fast` does not round between the two directions.
        assert (fast == expected).mean() > (0.98 if size == (21, 1) else 0.99)

    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    @pytest.mark.parametrize("size", [(65_535, 1), (1, 65_535), (65_535, 762)])
    def test_the_longest(self, size, interpolation):
        """Whole, the first would be 12.9 GB."""
        record = Preprocess(interpolation=interpolation)
        image = Image.new("RGB", size, (255, 127, 0))
        plain = record.reference(Image.new("RGB", (300, 300), (255, 127, 0)))
        np.testing.assert_array_equal(record.reference(image), plain)
        np.testing.assert_array_equal(record.fast(np.asarray(image)), plain)

    def test_up_to_a_ratio_of_20_all_of_it_is_resized_as_ever(self, monkeypatch):
        monkeypatch.setattr(Preprocess, "_resized_middle", None)
        assert Preprocess().reference(Image.new("RGB", (200, 10))).shape == (3, 224, 224)
        with pytest.raises(TypeError):
            Preprocess().reference(Image.new("RGB", (201, 10)))


class TestWork:
    """Bodies that ask for more work than their pixels are worth."""

    @pytest.mark.parametrize("decode", [decode_image, decode_pixels])
    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("jpeg of scans", "more than 100 scans"),
            ("jpeg of comments", "more than 100,000 parts"),
            ("jpeg of fill bytes", "more than 100,000 parts"),
            ("png of empty chunks", "more than 100,000 parts"),
            ("tiff of many tiles", "more than 100,000 parts"),
            ("tiff with a huge tile", "tiles of 20000 x 20000 pixels"),
            ("ppm in text", "binary format"),
            ("sgi", "of no known kind"),
            ("postscript", "of no known kind"),
        ],
    )
    def test_is_refused(self, decode, name, says):
        (body,) = (body for body in wrong_bodies() if body.name == name)
        with pytest.raises(ImageError, match=says):
            decode(body.data)

    @pytest.mark.parametrize("decode", [decode_image, decode_pixels])
    def test_scans(self, decode, monkeypatch):
        usual = encode(Image.new("L", (1000, 1000)), "JPEG", progressive=True).count(b"\xff\xda")
        decode(jpeg_of_scans(100 - usual))
        with pytest.raises(ImageError, match=r"more than 100 scans.* 1,000,000 pixels"):
            decode(jpeg_of_scans(101 - usual))
        # The largest images may have fewer.
        decode(jpeg_of_scans(20 - usual), max_pixels=1_000_000)
        with pytest.raises(ImageError, match="more than 20 scans"):
            decode(jpeg_of_scans(21 - usual), max_pixels=1_000_000)

    def test_scans_behind_restarts_and_odd_markers_count(self):
        whole = jpeg_of_scans(200)
        for odd in (b"\xff\xd0", b"\xff\x01", b"\xff\x02\xff\xff", b"\xff\xff", b"\xff\xd8\xff\xff", b"\xff\0\xff\xff"):
            with pytest.raises(ImageError, match="more than 100 scans"):
                check_scans(whole.replace(b"\xff\xc4", odd + b"\xff\xc4"), 10**6, 10**8)

    @pytest.mark.parametrize("decode", [decode_image, decode_pixels])
    def test_a_jpeg_of_no_height_is_refused(self, decode):
        whole = encode(Image.new("L", (40, 40)), "JPEG")
        place = whole.index(b"\xff\xc0") + 5
        with pytest.raises(ImageError, match="not a readable image") as error:
            decode(whole[:place] + bytes(2) + whole[place + 2 :])
        assert "division" not in str(error.value)

    def test_what_only_looks_like_scans(self, photo):
        """Notes of a camera before the pixels, and a film behind them."""
        data = encode(photo, "JPEG", exif=b"Exif\0\0" + b"\xff\xda" * 500) + b"\xff\xda" * 500
        assert decode_pixels(data).shape == (375, 500, 3)

    @pytest.mark.parametrize("options", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}, {"tiffinfo": {278: 1}}])
    def test_usual_tiffs(self, photo, options):
        np.testing.assert_array_equal(np.asarray(decode_image(encode(photo, "TIFF", **options))), np.asarray(photo))
        assert decode_image(tiff_of_tiles(100, 9)).size == (300, 300)


ALSO_SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("large webp without its pixels", "huge png", "png bomb")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["half a png", "half a jpeg", *ALSO_SLOW])
def test_an_error_that_is_kept_keeps_no_image(name):
    (body,) = (body for body in wrong_bodies() if body.name == name)
    gc.collect()
    gc.disable()
    # Fixtures of other tests may keep images of their own.
    before = {id(found) for found in gc.get_objects() if isinstance(found, ImageFile.ImageFile)}
    try:
        with pytest.raises(ImageError) as kept:
            decode_image(body.data)
        assert kept.value.__traceback__
        assert not [found for found in gc.get_objects() if isinstance(found, ImageFile.ImageFile) and id(found) not in before]
    finally:
        gc.enable()
