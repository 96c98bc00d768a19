"""Key formats: rename rules give the same network, and nothing is guessed."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from hubserve.errors import KeyFormatError
from hubserve.hub import load_card, load_model
from hubserve.hub.key_formats import convert
from hubserve.hub.registry import card_space
from tests.hub.parity import fill, fixture_input


def randomised(model):
    """Random statistics too, or batch norms would be near identities and hide a swap."""
    fill(model, 2.0)
    return model.eval()


@pytest.mark.parametrize("name", ["mobilenetv3-large-100", *(f"mobilenetv3-small-{w}" for w in ("050", "075", "100"))])
def test_timm_gives_the_same_logits(name):
    theirs = randomised(timm.create_model(name.replace("-", "_"), pretrained=False))
    card = load_card(name)
    ours = card_space(card).freeze(card.arch).eval()
    ours.load_state_dict(convert(theirs.state_dict(), ours, "timm"))
    with torch.no_grad():
        x = fixture_input([2, 3, 224, 224]).double()
        np.testing.assert_allclose(ours.double()(x), theirs.double()(x), rtol=1e-9)


@pytest.mark.parametrize("size", [224, 191])
def test_efficientnet_lite_equals_timm_with_tensorflow_padding(size):
    """The same file through our rules and through timm's network, whose names differ in a third way."""
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
