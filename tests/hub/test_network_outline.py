"""What is seen of a network: its blocks in a row, with shape, kernel and weights."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from hubserve.blocks.conv import ConvStyle
from hubserve.blocks.mobile import init_mobile_weights, inverted_residual
from hubserve.hub import SPACES, load_card
from hubserve.hub.network_outline import block_outlines
from hubserve.hub.registry import card_space

STYLE = ConvStyle()


def block(c_in: int, c_out: int, kernel: int, **options) -> nn.Module:
    return inverted_residual(c_in, 2 * c_in, c_out, kernel, style=STYLE, activation=nn.ReLU, **options)


@pytest.fixture
def net():
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
    stages = nn.Sequential(nn.Sequential(block(4, 8, 5, stride=2), block(8, 8, 3, squeeze=8)), block(8, 6, 7))
    return nn.Sequential(stem, stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10))


def test_a_row(net):
    found = block_outlines(net, [torch.empty(1, 3, 16, 20)])
    assert [(b.name, b.kind, b.kernel, b.shape, b.attention) for b in found] == [
        ("0", "Conv2d", 3, (4, 8, 10), False),
        ("1.0.0", "MobileBlock", 5, (8, 4, 5), False),
        ("1.0.1", "MobileBlock", 3, (8, 4, 5), True),
        ("1.1", "MobileBlock", 7, (6, 4, 5), False),
        ("4", "Linear", 0, (10,), False),
    ]
    assert sum(b.params for b in found) == sum(p.numel() for p in net.parameters())


def test_the_network_stays_as_it_was(net):
    init_mobile_weights(net.train())
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    block_outlines(net, [torch.empty(1, 3, 16, 16)])
    assert net.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("name", ["acenas-m1", "mobilenetv3-small-100", "spos", "autoformer-tiny"])
def test_cards(name):
    card = load_card(name)
    with torch.device("meta"):
        model = card_space(card).freeze(card.arch)
    found = block_outlines(model, card_space(card).cost_inputs())
    assert found[-1].shape == (1000,)
    assert any(b.attention for b in found) == (name == "mobilenetv3-small-100")
    assert sum(b.params for b in found) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", SPACES)
def test_a_space_has_cells_or_blocks(name):
    space = SPACES[name]()
    arch = space.random(Random(0))
    for cell in space.cells(arch).values():
        assert all(0 <= source < target < len(cell.nodes) for source, target, _ in cell.edges)
        assert {target for _, target, _ in cell.edges} or name == "NasBench201"
    chains = ("ProxylessNAS", "MobileNetV3Space", "ShuffleNetSpace", "AutoFormer")
    assert bool(space.cells(arch)) == (name not in chains)


def test_a_text_encoder_is_drawn_block_by_block():
    card = load_card("nasbert-5m")
    cells = card_space(card).cells(card.arch)
    assert list(cells) == ["block 1", "block 2", "block 3", "block 4"]
    assert cells["block 1"].nodes == ("192 channels", "1", "2", "output")
    assert cells["block 1"].edges == ((0, 1, "sep_conv_3"), (1, 2, "sep_conv_7"), (2, 3, "mha"))
