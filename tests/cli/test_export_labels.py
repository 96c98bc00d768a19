"""`hubserve export --labels --preprocess --like --key-format` for weights of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hubserve.hub import ProxylessNAS
from tests.export.nets import ARCH, SETTINGS, write_timm_weights

SPACE = ProxylessNAS(**SETTINGS)


@pytest.fixture
def timm_weights(tmp_path):
    return write_timm_weights(tmp_path / "timm.safetensors")


def test_at_the_command_line(hubserve, own_arch, timm_weights, tmp_path):
    (tmp_path / "labels.txt").write_text("\n".join("abcdefg"))
    (tmp_path / "p.json").write_text(json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"}))
    arguments = ("export", *own_arch, "--format", "torchscript", "--weights", timm_weights, "--key-format", "timm", "--json")
    manifest = hubserve(
        *arguments, "--out", "one", "--labels", tmp_path / "labels.txt", "--preprocess", tmp_path / "p.json"
    ).json()["manifest"]
    assert manifest["preprocess"]["mean"] == [0.5] * 3
    assert Path("one/labels.txt").read_text().split() == list("abcdefg")
    assert load_file("one/weights.safetensors").keys() == SPACE.freeze(ARCH).state_dict().keys()
    like = hubserve(*arguments, "--out", "two", "--like", "./one").json()["manifest"]
    assert like["preprocess"] == manifest["preprocess"]
    assert Path("two/labels.txt").read_bytes() == Path("one/labels.txt").read_bytes()
    assert "1000 labels" in hubserve(*arguments, "--out", "three", "--like", "efficientnet-lite0").refused("ExportError")
    assert not Path("three").exists()


def test_each_warning_is_printed_once(hubserve, own_arch, timm_weights):
    said = hubserve(
        "export", *own_arch, "--format", "torchscript", "--weights", timm_weights, "--key-format", "timm", "--out", "own"
    )
    assert said.code == 0
    lines = said.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("WARNING: preprocessing, that of the key format 'timm': input_size=")
    assert lines[1].startswith("WARNING: mine has no labels: its 7 classes are called 'class 0' to 'class 6'. Give them: ")


def test_a_package_and_a_card_with_another_preprocessing(hubserve, own_arch, timm_weights, tmp_path):
    """The package is exported again with own labels and another preprocessing, of which the warning is said aloud."""
    hubserve("export", *own_arch, "--format", "torchscript", "--weights", timm_weights, "--key-format", "timm", "--out", "own")
    (tmp_path / "labels.txt").write_text("\n".join("abcdefg"))
    (tmp_path / "p.json").write_text(json.dumps({"mean": [0.3] * 3}))
    options = ("--format", "torchscript", "--labels", tmp_path / "labels.txt", "--preprocess", tmp_path / "p.json", "--json")
    said = hubserve("export", "./own", "--out", "again", *options)
    (line,) = said.err.splitlines()
    assert line.startswith("WARNING: mine: its weights were trained with another preprocessing (input_size=")
    assert json.loads(said.out)["manifest"]["preprocess"]["mean"] == [0.3] * 3
    assert Path("again/labels.txt").read_text().split() == list("abcdefg")
    assert (
        "7 labels are given, and efficientnet-lite0 has 1000"
        in hubserve("export", "efficientnet-lite0", "--out", "lite", *options).err
    )
