"""The files for timm, loaded by timm itself: the same logits, labels and preprocessing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from hubserve import store
from hubserve.cards.card import load_card
from hubserve.export.rebuild_model import rebuild_model
from hubserve.export.timm_files import _crop_pct, timm_architecture, write_timm_files
from hubserve.hub.registry import get_space
from hubserve.package.manifest import Manifest, Provenance
from hubserve.package.package import Package, read_package
from hubserve.preprocess import Preprocess
from tests.export.nets import lively
from tests.remote_places import hub  # noqa: F401 - a fixture
from tests.stores import tiny_package

ARCHITECTURES = {
    "efficientnet-lite0": "tf_efficientnet_lite0",
    "mobilenetv3-large-100": "mobilenetv3_large_100",
    "mobilenetv3-small-050": "mobilenetv3_small_050",
    "mobilenetv3-small-075": "mobilenetv3_small_075",
    "mobilenetv3-small-100": "mobilenetv3_small_100",
}


def unexported(card_name: str, folder: Path, **preprocess) -> Package:
    """A package of a card's arch with 5 classes and made-up weights; without exported formats, which are not needed here."""
    card = load_card(card_name)
    settings = {**card.settings, "num_labels": 5}
    model = lively(get_space(card.space, settings).freeze(card.arch))
    folder.mkdir()
    save_file({key: tensor.contiguous() for key, tensor in model.state_dict().items()}, folder / "weights.safetensors")
    (folder / "labels.txt").write_text("daisy\nrose\ntulip\nlily | x\nüber\n", "utf-8")
    described = {"name": "x", "dtype": "float32", "shape": ("batch", 5)}
    manifest = Manifest(
        name="flowers",
        space=card.space,
        settings=settings,
        arch=card.arch,
        preprocess=card.preprocess.model_copy(update={"input_size": 64, "resize": 73, **preprocess}),
        inputs=[{**described, "shape": ("batch", 3, 64, 64)}],
        outputs=[described],
        exports={},
        provenance=Provenance(licence=card.licence),
        versions={},
        files={},
    )
    return Package(folder, manifest)


def timm_folder(package: Package, folder: Path) -> Path:
    folder.mkdir()
    assert sorted(write_timm_files(package, folder)) == ["config.json", "model.safetensors"]
    return folder


@pytest.mark.parametrize(("card", "architecture"), ARCHITECTURES.items())
def test_timm_gives_the_same_logits(card, architecture, tmp_path):
    package = unexported(card, tmp_path / "package")
    folder = timm_folder(package, tmp_path / "timm")
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    assert theirs.pretrained_cfg["architecture"] == architecture == timm_architecture(package.manifest)
    assert theirs.pretrained_cfg["label_names"] == list(package.labels)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = rebuild_model(package)(images)
        assert expected.shape == (2, 5)
        torch.testing.assert_close(theirs(images), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_timm_prepares_images_the_same_way(fit, tmp_path):
    package = unexported("efficientnet-lite0", tmp_path / "package", fit=fit)
    folder = timm_folder(package, tmp_path / "timm")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model), is_training=False)
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
    difference = np.abs(transform(image).numpy() - package.manifest.preprocess.reference(image))
    assert np.median(difference) < 0.02  # At the edge of the border, and of a resize by an odd number, single pixels differ.
    assert np.mean(difference > 0.05) < 0.05


@pytest.mark.parametrize("input_size", [32, 64, 96, 128, 160, 192, 224, 260, 299, 384])
def test_the_crop_is_resized_to_the_same_length(input_size):
    for resize in range(input_size, 2 * input_size, 7):
        assert int(np.floor(input_size / _crop_pct(input_size, resize))) == resize


class TestWhatTimmDoesNotHave:
    def test_another_arch(self, tmp_path):
        assert timm_architecture(tiny_package().manifest) is None
        assert write_timm_files(tiny_package(), tmp_path) == {}
        assert list(tmp_path.iterdir()) == []

    def test_a_changed_arch_of_one_it_has(self, tmp_path):
        package = unexported("efficientnet-lite0", tmp_path / "package")
        other = package.manifest.model_copy(update={"arch": {**package.manifest.arch, "s7_i0": "k5e6"}})
        assert timm_architecture(other) is None
        wider = package.manifest.model_copy(update={"settings": {**package.manifest.settings, "width_mult": 1.5}})
        assert timm_architecture(wider) is None
        padded = package.manifest.model_copy(update={"settings": {**package.manifest.settings, "padding": "symmetric"}})
        assert timm_architecture(padded) is None

    def test_a_space_of_ones_own(self, tmp_path):
        assert timm_architecture(tiny_package().manifest.model_copy(update={"space": "mypkg.spaces:Own"})) is None

    def test_planes_in_the_order_bgr(self, tmp_path):
        assert write_timm_files(unexported("efficientnet-lite0", tmp_path / "package", channels="bgr"), tmp_path) == {}

    def test_a_package_with_files_of_these_names(self, tmp_path):
        package = unexported("efficientnet-lite0", tmp_path / "package")
        taken = package.manifest.model_copy(update={"files": {"config.json": {"bytes": 0, "sha256": ""}}})
        assert write_timm_files(replace(package, manifest=taken), tmp_path) == {}


def test_the_configuration_is_what_timm_writes(tmp_path):
    """The keys are some of those that timm's own `save_config_for_hf` writes."""
    folder = timm_folder(unexported("efficientnet-lite0", tmp_path / "package"), tmp_path / "timm")
    model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    timm.models.save_for_hf(model, tmp_path / "theirs", {"label_names": ["a"] * 5}, safe_serialization=True)
    ours, theirs = (json.loads((place / "config.json").read_text()) for place in (folder, tmp_path / "theirs"))
    assert ours["architecture"] == theirs["architecture"]
    assert set(ours) <= {*theirs, "model_args"}
    assert ours["num_features"] == theirs["num_features"]
    for key in ("input_size", "mean", "std", "num_classes", "interpolation", "crop_mode", "first_conv", "classifier"):
        assert ours["pretrained_cfg"][key] == pytest.approx(theirs["pretrained_cfg"][key]), key


@pytest.mark.long
def test_from_a_hub(hub, tmp_path):  # noqa: F811
    """`timm.create_model("hf-hub:me/lite0")` from the loopback hub, in a process that knows no hubserve."""
    from hubserve.export.model_source import card_source
    from hubserve.export.write_package import write_package

    package = write_package(card_source(load_card("efficientnet-lite0")), tmp_path / "lite0", formats=("onnx",))
    (tmp_path / "timm").mkdir()
    store.push(package.path, "hf://me/lite0", beside=write_timm_files(package, tmp_path / "timm"))
    program = (
        "import sys, timm, torch; torch.manual_seed(0)\n"
        "model = timm.create_model('hf-hub:me/lite0', pretrained=True).eval()\n"
        "x = torch.randn(2, 3, 224, 224)\n"
        "with torch.no_grad(): torch.save((x, model(x), model.pretrained_cfg['label_names'][0]), sys.argv[1])"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    environment.pop("PYTHONPATH", None)
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.pt")], check=True, env=environment, cwd=tmp_path)
    images, found, first = torch.load(tmp_path / "x.pt")
    with torch.no_grad():
        expected = rebuild_model(read_package(package.path))(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert first == package.labels[0]
    assert "hf-hub:me/lite0" in hub.repositories["me/lite0"].files["README.md"].decode()


def test_a_preprocess_of_another_scale(tmp_path):
    """Mean and std of pixel values in 0..255 become those of timm, in [0, 1]."""
    package = unexported("efficientnet-lite0", tmp_path / "package")
    config = json.loads((timm_folder(package, tmp_path / "timm") / "config.json").read_text())["pretrained_cfg"]
    assert config["mean"] == pytest.approx([127 / 255] * 3)
    assert config["std"] == pytest.approx([128 / 255] * 3)
    assert Preprocess().scale == 255
