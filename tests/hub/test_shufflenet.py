"""ShuffleNetSpace: widths, strides, searched channels, first weights."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from hubserve.blocks import ShuffleBlock
from hubserve.errors import ArchError
from hubserve.hub import ShuffleNetSpace

SPACE, SEARCHED = ShuffleNetSpace(), ShuffleNetSpace(channel_search=True)
ALL_K3 = {f"layer_{i}": "k3" for i in range(1, 21)}


def blocks(net: nn.Module) -> list[ShuffleBlock]:
    return [m for m in net.features if isinstance(m, ShuffleBlock)]


def test_choices():
    assert SPACE.count() == 4**20
    assert SEARCHED.count() == 32**20
    assert list(SEARCHED.choices)[:4] == ["layer_1", "channel_1", "layer_2", "channel_2"]
    assert all(SEARCHED.choices["channel_1"].active({"layer_1": kind}) for kind in ("k3", "k5", "k7", "xcep"))


def test_stages():
    with torch.device("meta"):
        net = SPACE.freeze(SPACE.random(Random(0))).eval()
    sizes = []
    for block in blocks(net):
        block.register_forward_hook(lambda m, i, o: sizes.append(tuple(o.shape[1:3])))
    assert net(torch.zeros(1, 3, 224, 224, device="meta")).shape == (1, 1000)
    assert sizes == [(64, 56)] * 4 + [(160, 28)] * 4 + [(320, 14)] * 8 + [(640, 7)] * 4
    assert [not block.splits for block in blocks(net)] == [i in (0, 4, 8, 16) for i in range(20)]


def middle(block: ShuffleBlock) -> int:
    """Channels of the first 1x1 convolution."""
    return next(m.out_channels for m in block.branch_main if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1))


def test_searched_channels():
    assert SEARCHED.choices["channel_1"].candidates == (6, 12, 19, 25, 32, 38, 44, 51)
    assert SEARCHED.choices["channel_20"].candidates == (64, 128, 192, 256, 320, 384, 448, 512)
    rng = Random(0)
    for _ in range(3):
        arch = SEARCHED.random(rng)
        with torch.device("meta"):
            net = SEARCHED.freeze(arch)
        assert [middle(block) for block in blocks(net)] == [arch[f"channel_{i}"] for i in range(1, 21)]


def test_without_a_search_the_middle_is_half_of_the_output():
    with torch.device("meta"):
        net = SPACE.freeze(ALL_K3)
    assert [middle(block) for block in blocks(net)] == [32] * 4 + [80] * 4 + [160] * 8 + [320] * 4


def test_size_by_hand():
    """ShuffleNetV2's unit with a kernel of 3 throughout."""

    def unit(c_in, c_out, stride):
        passing, mid = (c_in if stride == 2 else c_in // 2), c_out // 2
        main = passing * mid + 9 * mid + mid * (c_out - passing) + 2 * (mid + mid + c_out - passing)
        return main + (9 * passing + passing**2 + 4 * passing if stride == 2 else 0)

    total, c_in = 27 * 16 + 32, 16
    for repeats, c_out in ((4, 64), (4, 160), (8, 320), (4, 640)):
        for i in range(repeats):
            total += unit(c_in, c_out, 2 if i == 0 else 1)
            c_in = c_out
    total += 640 * 1024 + 2 * 1024 + 1024 * 1000
    with torch.device("meta"):
        net = SPACE.freeze(ALL_K3)
    assert sum(p.numel() for p in net.parameters()) == total
    assert net.classifier[0].bias is None


def test_norms_of_a_supernet_have_no_weights_after_the_stem():
    with torch.device("meta"):
        net = ShuffleNetSpace(affine=False).freeze(ALL_K3)
    affine = {name: m.affine for name, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert [name for name, has in affine.items() if has] == ["first_conv.1"]


def test_first_weights():
    torch.manual_seed(0)
    net = SPACE.freeze(ALL_K3)
    expected = {
        "first_conv.0": 0.01,
        "features.17.branch_main.0": 1 / 320,  # 1x1 over the half that is worked on
        "features.17.branch_main.3": 1.0,  # depthwise: one channel a filter
        "conv_last.0": 1 / 640,
        "classifier.0": 0.01,
    }
    found = {name: net.get_submodule(name).weight.std().item() for name in expected}
    assert found == pytest.approx(expected, rel=0.08)
    assert all((m.bias == 1e-4).all() and (m.weight == 1).all() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


def test_an_unknown_layer():
    with pytest.raises(ArchError, match=r"\['layer_7'\] = 'k9' is not one of \('k3', 'k5', 'k7', 'xcep'\)"):
        SPACE.validate({**ALL_K3, "layer_7": "k9"})
