"""Key formats: rename rules give the same network, and nothing is guessed."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import timm
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.errors import KeyFormatError
from hubserve.hub import MobileNetV3Space, ProxylessNAS, load_card, load_model, mobile_tensor_names
from hubserve.hub.key_formats import convert
from hubserve.hub.registry import card_space
from tests.hub.parity import fill, fixture_input

TIMM_V3 = ("large-100", "small-050", "small-075", "small-100")
PROXYLESS, MOBILENET_V3 = ProxylessNAS(bn_eps=1e-5), MobileNetV3Space()
RULES = {
    "timm": mobile_tensor_names.timm,
    "torchvision": mobile_tensor_names.torchvision,
    "efficientnet-lite": mobile_tensor_names.efficientnet_lite,
}


def randomised(model):
    """Random statistics too, or batch norms would be near identities and hide a swap."""
    fill(model, 2.0)
    return model.eval()


SAME_NETWORKS = {
    **{f"mobilenetv3-{n}": ("timm", lambda n=n: timm.create_model(f"mobilenetv3_{n.replace('-', '_')}")) for n in TIMM_V3},
    "efficientnet-lite0": ("timm", lambda: timm.create_model("tf_efficientnet_lite0")),
    "torchvision-mobilenetv2": ("torchvision", torchvision.models.mobilenet_v2),
    "torchvision-mobilenetv3-large": ("torchvision", torchvision.models.mobilenet_v3_large),
    "torchvision-mobilenetv3-small": ("torchvision", torchvision.models.mobilenet_v3_small),
}
"""Card -> whose names, and their network of the same shape."""


@pytest.mark.parametrize("size", [96, pytest.param(65, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SAME_NETWORKS)
def test_the_same_logits(name, size):
    key_format, make = SAME_NETWORKS[name]
    theirs = randomised(make())
    card = load_card(name)
    ours = card_space(card).freeze(card.arch).eval()
    ours.load_state_dict(convert(theirs.state_dict(), ours, key_format))
    with torch.no_grad():
        x = fixture_input([2, 3, size, size]).double()
        np.testing.assert_allclose(ours.double()(x), theirs.double()(x), rtol=1e-9)


def test_timm_s_mobilenet_v2_is_torchvision_s():
    """One network under three kinds of names."""
    card = load_card("torchvision-mobilenetv2")
    ours = card_space(card).freeze(card.arch).eval()
    theirs = randomised(timm.create_model("mobilenetv2_100"))
    ours.load_state_dict(convert(theirs.state_dict(), ours, "timm"))
    with torch.no_grad():
        x = fixture_input([1, 3, 96, 96]).double()
        np.testing.assert_allclose(ours.double()(x), theirs.double()(x), rtol=1e-9)


@pytest.mark.parametrize("name", [n for n, (key_format, _) in SAME_NETWORKS.items() if key_format == "torchvision"])
def test_torchvision_s_own_figures(name):
    """Weights, accuracy and preparation of a card are one entry of torchvision's list."""
    card = load_card(name)
    (weights,) = (w for w in torchvision.models.get_model_weights(SAME_NETWORKS[name][1]) if w.url == card.weights[0].url)
    accuracy = weights.meta["_metrics"]["ImageNet-1K"]
    assert (card.metric.top1, card.metric.top5) == (accuracy["acc@1"], accuracy["acc@5"])
    crop = weights.transforms()
    prepared = card.preprocess
    assert ([prepared.input_size], [prepared.resize]) == (crop.crop_size, crop.resize_size)
    assert prepared.interpolation == crop.interpolation.value
    assert (list(prepared.mean), list(prepared.std)) == (crop.mean, crop.std)
    model = card_space(card).freeze(card.arch)
    assert sum(p.numel() for p in model.parameters()) == weights.meta["num_params"]


@pytest.mark.parametrize("name", ["mobilenetv3-small-100", "acenas-m1"])
def test_torchvision_s_weights_are_not_for_networks_with_another_eps(name):
    card = load_card(name)
    model = card_space(card).freeze(card.arch)
    with pytest.raises(KeyFormatError, match=r"trains this network with bn_eps = .*Give the space bn_eps"):
        convert({}, model, "torchvision")


@given(seed=st.integers(0, 2**32), key_format=st.sampled_from(["timm", "torchvision", "efficientnet-lite"]))
@settings(max_examples=20, deadline=None)
def test_every_tensor_has_a_name_of_its_own(seed, key_format):
    """For any arch: the rules name each layer once, and the names lead back to it."""
    space = PROXYLESS if seed % 2 or key_format == "efficientnet-lite" else MOBILENET_V3
    with torch.device("meta"):
        model = space.freeze(space.random(Random(seed)))
    rules = RULES[key_format](model)
    layers = {key.rpartition(".")[0] for key in model.state_dict()}
    assert set(rules) == layers
    assert len(set(rules.values())) == len(layers)


@pytest.mark.parametrize("size", [224, 191])
def test_efficientnet_lite_equals_timm_with_tensorflow_padding(size):
    """The real file through our rules and through timm's network, whose names differ in a third way."""
    ours = load_model("efficientnet-lite0", download=False)
    theirs = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    with torch.no_grad():
        x = fixture_input([1, 3, size, size])
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


class TestStrictness:
    @pytest.fixture
    def model(self):
        return card_space(load_card("acenas-m1")).freeze(load_card("acenas-m1").arch)

    def test_a_missing_key_is_named(self, model):
        state = model.state_dict()
        del state["classifier.bias"]
        with pytest.raises(KeyFormatError, match=r"1 missing: classifier\.bias"):
            convert(state, model, "nni")

    def test_a_key_left_over_is_named(self, model):
        with pytest.raises(KeyFormatError, match=r"1 not of this model: extra\.weight"):
            convert({**model.state_dict(), "extra.weight": torch.zeros(1)}, model, "nni")

    def test_a_shape_is_never_bent(self, model):
        state = {**model.state_dict(), "classifier.bias": torch.zeros(1, 1000)}
        with pytest.raises(KeyFormatError, match=r"classifier\.bias \(1, 1000\) where \(1000,\) is needed"):
            convert(state, model, "nni")

    def test_a_file_of_another_format(self, model):
        with pytest.raises(KeyFormatError, match=r"key format 'efficientnet-lite'.*not fit"):
            convert(model.state_dict(), model, "efficientnet-lite")

    def test_a_network_that_the_format_does_not_know(self):
        with pytest.raises(KeyFormatError, match="Linear has none"):
            convert({}, torch.nn.Linear(1, 1), "timm")

    def test_an_unknown_format(self, model):
        with pytest.raises(KeyFormatError, match="Did you mean timm"):
            convert({}, model, "tim")

    def test_counters_of_batches_may_be_absent(self, model):
        state = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
        assert list(convert(state, model, "nni")) == list(model.state_dict())
