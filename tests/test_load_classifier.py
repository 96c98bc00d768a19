"""hubserve.load: by card, package folder, name, tag and alias; and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hubserve
from hubserve import store
from hubserve.errors import DeviceError, ExportError, ModelNotFoundError, PackageError, WeightsUnavailableError
from hubserve.export.write_package import write_package
from hubserve.store import aliases
from tests.export.nets import ARCH, small_source
from tests.images import photo
from tests.stores import store_at, tiny_package

COFFEE = photo("coffee")


@pytest.fixture
def stored(tmp_path):
    with store_at(tmp_path / "bentoml"):
        tag = store.publish(tiny_package().path).tag
        aliases.set_alias("production", "tiny")
        yield tag


def test_a_package_folder(tmp_path, monkeypatch):
    path = tiny_package().path
    for given in (path, str(path)):
        model = hubserve.load(given)
        assert (model.name, model.arch, model.labels) == ("tiny", ARCH, tiny_package().labels)
    monkeypatch.chdir(path.parent)
    with store_at(tmp_path):
        assert hubserve.load(path.name)(COFFEE) == hubserve.load(Path(path.name))(COFFEE) == model(COFFEE)


def test_name_tag_and_alias_in_the_store(stored):
    expected = hubserve.load(tiny_package().path)(COFFEE)
    for name in ("tiny", stored, "tiny:latest", "production"):
        assert hubserve.load(name)(COFFEE) == expected


def test_no_program_of_a_package_is_run(monkeypatch):
    """A package with nothing but TorchScript, which is a program, from another author: its weights are read."""
    monkeypatch.setattr("hubserve.package.trust.was_written_here", lambda sha256: False)
    assert len(hubserve.load(tiny_package().path)(COFFEE)) == 5


@pytest.mark.slow
def test_a_card_with_its_published_weights(tmp_path):
    with store_at(tmp_path):
        model = hubserve.load("efficientnet-lite0", download=False)
    assert [prediction.label for prediction in model(COFFEE, top_k=1)] == ["espresso"]
    assert model.features(COFFEE).shape == (1280,)
    assert model.arch == hubserve.hub.load_card("efficientnet-lite0").arch


@pytest.mark.parametrize("card", ["mobilenetv3-small-050", "darts-v2", "autoformer-tiny", "spos"])
def test_a_card_with_random_weights(tmp_path, card):
    with store_at(tmp_path):
        model = hubserve.load(card, pretrained=False)
    assert len(model(COFFEE)) == 5
    assert model.features(COFFEE).ndim == 1


def test_weights_that_must_not_be_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    with store_at(tmp_path), pytest.raises(WeightsUnavailableError, match="spos"):
        hubserve.load("spos", download=False)


def test_a_temperature_of_the_manifest_is_that_of_the_model(tmp_path):
    warm = write_package(replace(small_source(), temperature=2.5), tmp_path / "warm", formats=("torchscript",))
    plain = write_package(small_source(), tmp_path / "plain", formats=("torchscript",))
    model = hubserve.load(warm.path)
    assert model.temperature == 2.5
    assert model(COFFEE)[0].probability < hubserve.load(plain.path)(COFFEE)[0].probability


def test_names_that_mean_nothing(stored, tmp_path):
    with pytest.raises(ModelNotFoundError, match="Did you mean efficientnet-lite0"):
        hubserve.load("efficientnet-lite")
    with pytest.raises(ModelNotFoundError, match="Did you mean tiny"):
        hubserve.load("tin")
    with pytest.raises(PackageError, match="is not a package"):
        hubserve.load("no/such/folder")
    with pytest.raises(PackageError, match="is not a package"):
        hubserve.load(tmp_path)
    with pytest.raises(PackageError, match="is not a package"):
        hubserve.load(Path("efficientnet-lite0"))


def test_a_package_has_its_own_weights(stored):
    with pytest.raises(ExportError, match="tiny is a package, which has its own weights"):
        hubserve.load("tiny", pretrained=False)


def test_a_package_that_was_changed(tmp_path):
    folder = Path(shutil.copytree(tiny_package().path, tmp_path / "changed"))
    labels = folder / "labels.txt"
    labels.write_text(labels.read_text().replace("kind 0", "kind 9"))
    with pytest.raises(PackageError, match="was changed"):
        hubserve.load(folder)


def test_a_space_that_is_not_here(tmp_path):
    folder = Path(shutil.copytree(tiny_package().path, tmp_path / "foreign"))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"space": "Elsewhere"}))
    with pytest.raises(PackageError, match="cannot be rebuilt"):
        hubserve.load(folder)


def test_devices():
    with pytest.raises(DeviceError, match="'nowhere' cannot be used"):
        hubserve.load(tiny_package().path, device="nowhere")
    found = next(hubserve.load(tiny_package().path, device="auto").network.parameters()).device.type
    assert found == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_client_and_the_package_itself_import_no_torch():
    code = (
        "import sys, hubserve, hubserve.client as c; hubserve.client.Client('http://127.0.0.1:1');"
        "assert not {'torch', 'numpy', 'PIL', 'pydantic', 'bentoml'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
