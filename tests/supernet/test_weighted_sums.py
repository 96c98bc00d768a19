"""Weighted sums of nested outputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hubserve.errors import SupernetError
from hubserve.space import KOf
from hubserve.supernet.blend import Blend, BlendContext
from hubserve.supernet.blended_layers import OptionalLayer, RepeatedBlock, WeightedEdge
from hubserve.supernet.weighted_sums import close, plus, same_shapes, times, zeros_like

ONES = torch.ones(2, 3)
MASK = torch.tensor([True, False])
HALF = torch.tensor(0.5, requires_grad=True)


def test_a_weighted_sum():
    total = plus(
        times(HALF, {"x": ONES, "more": (MASK, None)}), times(1 - HALF, {"x": 3 * ONES, "more": (MASK, None)}), "all", "one"
    )
    assert torch.equal(total["x"], 2 * ONES)
    assert total["more"] == (MASK, None)
    (gradient,) = torch.autograd.grad(total["x"].sum(), HALF)
    assert float(gradient) == -12.0


@pytest.mark.parametrize(
    ("a", "b", "found"),
    [
        (ONES, ONES[:1], r"different shapes, \(2, 3\) and \(1, 3\)"),
        ([ONES], ONES, "a list of 1 and one Tensor"),
        (MASK, ~MASK, "a tensor of torch.bool and a tensor of torch.bool"),
        ([ONES, 1], [ONES, 2], "1 and 2, which are no floating-point tensors"),
        ([ONES, 1], [ONES, True], "1 and True"),
        ([ONES], [MASK], "a tensor of torch.float32 and a tensor of torch.bool"),
    ],
)
def test_what_has_no_sum(a, b, found):
    with pytest.raises(SupernetError, match=f"^the depths of 'd' give {found}.*one depth at a time$"):
        plus(a, b, "the depths of 'd'", "depth")


def test_zeros_of_one_element_have_as_many_axes():
    found = zeros_like([ONES, (ONES[0], None)])
    assert found[0].shape == (1, 1)
    assert found[1][0].shape == (1,)
    assert found[1][1] is None
    assert torch.equal(plus(found[0], ONES[:1, :1], "", ""), ONES[:1, :1])


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ((ONES, None), (2 * ONES, None), True),
        ((ONES, None), (ONES[:1], None), False),
        ((ONES, None), (ONES,), False),
        ({"a": ONES}, [ONES], False),
    ],
)
def test_shapes(a, b, same):
    assert same_shapes(a, b) is same


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (ONES, 1.005 * ONES, True),
        (ONES, 1.02 * ONES, False),
        ({"x": [ONES, MASK]}, {"x": [ONES, MASK.clone()]}, True),
        ({"x": [ONES, MASK]}, {"x": [ONES, ~MASK]}, False),
        ({"x": ONES}, {"y": ONES}, False),
        ("text", "text", True),
        (ONES[:0], ONES[:0], True),
        (math.nan * ONES, math.nan * ONES, False),
        (ONES, ONES[:, :1], False),
    ],
)
def test_close(a, b, equal):
    assert close(a, b, 0.01) is equal


class Scaled(nn.Module):
    """Multiplies the first of a pair, and returns the pair."""

    def forward(self, pair, factor=1.0, *, more=0.0):
        return pair[0] * factor + more, pair[1]


def context_of(label, weights, held=None):
    context = BlendContext()
    blend = Blend.all_of(torch.tensor(weights)) if held is None else Blend(torch.tensor(weights), held)
    context.begin({label: blend}, {})
    return context


def test_an_edge_returns_the_pair_times_its_weight_or_zeros():
    choice = KOf("in", (0, 1), 1)
    context = context_of("in", [0.25, 0.75], held=(1,))
    skipped, run = (WeightedEdge(choice, i, Scaled(), context)((ONES, MASK), 2.0) for i in (0, 1))
    assert skipped[0].shape == (1, 1)
    assert torch.equal(run[0], 1.5 * ONES)
    assert torch.equal(run[1], MASK)


def test_an_optional_layer_on_a_pair():
    found = OptionalLayer("op", [True, False], Scaled(), context_of("op", [0.5, 0.5]))((ONES, MASK), 3.0)
    assert torch.equal(found[0], 2 * ONES)
    with pytest.raises(SupernetError, match=r"changes the shape \(2, 3\), \(2,\) to \(2, 3\)"):
        OptionalLayer("op", [True, False], Flat(), context_of("op", [0.5, 0.5]))((ONES, MASK))


class Flat(nn.Module):
    def forward(self, pair):
        return pair[0]


def test_a_repeat_of_blocks_with_further_arguments():
    context = context_of("depth", [0.5, 0.5])
    blocks = [RepeatedBlock("depth", i, (1, 2), Scaled(), context, "depth/0") for i in range(2)]
    pair = (ONES, MASK)
    for block in blocks:
        pair = block(pair, 2.0, more=1.0)
    assert torch.equal(pair[0], (3.0 + 7.0) / 2 * ONES)
