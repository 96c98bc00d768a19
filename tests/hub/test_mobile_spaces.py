"""What MobileNetV3Space and ProxylessNAS do beyond the matrix: settings, padding, and a network of timm as the oracle."""

from __future__ import annotations

import pytest
import timm
import torch

from hubserve.blocks.conv import ConvStyle
from hubserve.errors import SpaceError
from hubserve.hub import MobileNetV3Space, ProxylessNAS, load_card
from hubserve.hub.key_formats import convert
from hubserve.hub.registry import get_space


@pytest.mark.parametrize(
    ("space", "settings", "says"),
    [
        (ProxylessNAS, {"base_widths": (8, 8)}, "has 2 entries and needs 9"),
        (ProxylessNAS, {"num_labels": 0}, "num_labels = 0 must be at least 1"),
        (MobileNetV3Space, {"stride": (1, 2, 2, 2, 1, 2, 1)}, "these must agree"),
        (MobileNetV3Space, {"stride": (1, 2, 2, 2, 1, 2, 1, 1, 2)}, "must end in 1, 1"),
        (MobileNetV3Space, {"depth_range": (0, 4)}, "depth_range"),
        (MobileNetV3Space, {"num_labels": -1}, "must be at least 1"),
    ],
)
def test_senseless_settings_are_refused(space, settings, says):
    with pytest.raises(SpaceError, match=says):
        space(**settings)


def test_wrong_types_are_refused():
    with pytest.raises(SpaceError, match=r"num_labels = 'ten': .*valid integer"):
        get_space("ProxylessNAS", {"num_labels": "ten"})


def test_unknown_padding():
    with pytest.raises(SpaceError, match="padding = 'valid' is not one of"):
        ConvStyle(padding="valid")


@pytest.fixture(scope="module")
def nets():
    """Ours and timm's TensorFlow port, with the same random weights."""
    torch.manual_seed(0)
    theirs = timm.create_model("tf_mobilenetv3_small_100", pretrained=False).eval()
    card = load_card("mobilenetv3-small-100")
    ours = MobileNetV3Space(**{**card.settings, "padding": "same", "bn_eps": 1e-3}).freeze(card.arch).eval()
    ours.load_state_dict(convert(theirs.state_dict(), ours, "timm"))
    return ours, theirs


class TestSamePadding:
    """timm's TensorFlow port pads as TensorFlow does; ours must give its logits, on even and odd sizes."""

    @pytest.mark.parametrize("size", [224, 193])
    def test_logits(self, nets, size):
        ours, theirs = nets
        x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)

    def test_symmetric_padding_differs(self, nets):
        card = load_card("mobilenetv3-small-100")
        symmetric = MobileNetV3Space(**{**card.settings, "bn_eps": 1e-3}).freeze(card.arch).eval()
        symmetric.load_state_dict(convert(nets[1].state_dict(), symmetric, "timm"))
        x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            assert not torch.allclose(symmetric(x), nets[0](x), rtol=1e-4, atol=1e-5)
