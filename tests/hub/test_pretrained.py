"""Pre-searched models with their weights, as NNI's users load them."""

from __future__ import annotations

import hashlib
import inspect
import io

import pytest
import torch

import hubserve.hub.hub_space
from hubserve.errors import KeyFormatError, WeightsUnavailableError
from hubserve.export.model_source import card_source
from hubserve.hub import HubSpace, MobileNetV3Space, load_card, load_model
from hubserve.hub.registry import card_space
from hubserve.load_classifier import load
from tests.hub.loopback import file_server
from tests.hub.parity import fill, fixture_input


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))


@pytest.fixture
def published(monkeypatch):
    """mobilenetv3-small-100 with made-up weights, on a mirror; the card knows their hash."""
    card = load_card("mobilenetv3-small-100")
    model = card_space(card).freeze(card.arch).eval()
    fill(model, 2.0)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    source = card.weights[0].model_copy(update={"sha256": hashlib.sha256(buffer.getvalue()).hexdigest()})
    with file_server() as server:
        server.files["/" + source.url.rsplit("/", 1)[-1]] = buffer.getvalue()
        monkeypatch.setenv("HUBSERVE_MIRROR", server.url)
        monkeypatch.setattr(hubserve.hub.hub_space, "load_card", lambda name: card.model_copy(update={"weights": (source,)}))
        yield model


def test_nni_s_documented_call(published):
    model = MobileNetV3Space.load_searched_model("mobilenetv3-small-100", pretrained=True, download=True, progress=False)
    x = fixture_input([1, 3, 224, 224])
    with torch.no_grad():
        torch.testing.assert_close(model(x), published(x), rtol=0, atol=0)
    assert not model.training
    assert all(p.requires_grad and p.dtype == torch.float32 and not p.is_meta for p in model.parameters())
    assert not any(b.is_meta for b in model.buffers())


def test_without_download_the_network_is_left_alone(published):
    with pytest.raises(WeightsUnavailableError, match="pass download=True"):
        MobileNetV3Space.load_searched_model("mobilenetv3-small-100", pretrained=True)


def test_a_local_file_is_always_accepted(published, tmp_path):
    torch.save(published.state_dict(), tmp_path / "mine.pth")
    model = load_model("mobilenetv3-small-100", weights=tmp_path / "mine.pth")
    assert torch.equal(model.classifier[1].weight, published.classifier[1].weight)


def test_a_file_that_does_not_fit_is_named(published, tmp_path):
    torch.save({"x": torch.zeros(1)}, tmp_path / "mine.pth")
    with pytest.raises(KeyFormatError, match=r"mine\.pth: .*210 missing"):
        load_model("mobilenetv3-small-100", weights=tmp_path / "mine.pth")


def test_other_precisions_become_float32(published, tmp_path):
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in published.state_dict().items()}, tmp_path / "half.pth")
    model = load_model("mobilenetv3-small-100", weights=tmp_path / "half.pth")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_real_weights_from_an_installed_package():
    model = load_model("efficientnet-lite0", download=False)
    assert sum(p.numel() for p in model.parameters()) == 4_652_008


def test_tensorflow_s_mobilenet_v3_small(shared):
    """Weights in timm's names whose batch norms are folded: read by the rules, strictly."""
    model = load_model(
        "mobilenetv3-small-100",
        weights=shared / "data/weights/tf_mobilenetv3_small_100__tfhub-int8-dequant.pth",
        key_format="timm",
    )
    assert sum(p.numel() for p in model.parameters()) == 2_542_856


def test_all_ways_to_a_model_have_the_same_defaults():
    """Only NNI's call differs, whose signature NNI fixes: it neither loads nor downloads weights unless asked to."""

    def defaults(function):
        return {name: p.default for name, p in inspect.signature(function).parameters.items() if p.default is not p.empty}

    ours = defaults(load_model)
    assert ours == {"pretrained": True, "weights": None, "key_format": None, "download": True, "progress": True}
    assert defaults(card_source) == {**ours, "class_labels": None, "preprocess": None}
    assert defaults(load) == {**defaults(card_source), "device": "cpu", "trusted": False}
    assert defaults(HubSpace.load_searched_model) == {"pretrained": False, "download": False, "progress": True}
