"""LayerChoice, InputChoice, Repeat and AutoActivation in a space of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
import torch
from torch import nn
from torch.nn import functional

from hubserve.blocks import AutoActivation, DropPath, InputChoice, LayerChoice, Repeat
from hubserve.blocks.activation import BINARY_CANDIDATES, UNARY_CANDIDATES
from hubserve.errors import SpaceError
from hubserve.space import FrozenPicker, ModelSpace

X = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, pick):
        super().__init__()
        self.op = LayerChoice(pick, "op", [lambda: nn.Conv2d(4, 4, 3, padding=1), nn.Identity])
        self.row = Repeat(pick, "depth", (1, 3), lambda i: nn.Conv2d(4, 4, pick(f"kernel_{i}", (1, 3)), padding="same"))
        self.skip = InputChoice(pick, "skip", n_candidates=3, n_chosen=None, reduction="mean")
        self.act = AutoActivation(pick, "act")

    def forward(self, x):
        y = self.op(x)
        return self.act(self.skip([x, y, self.row(y)]))


@dataclass(frozen=True)
class Own(ModelSpace):
    def build(self, pick):
        return Net(pick)


def test_in_a_space():
    space = Own()
    labels = "op depth kernel_0 kernel_1 kernel_2 skip act/unary_0 act/unary_1 act/binary_0"
    assert " ".join(space.choices) == labels
    assert space.count() == 2 * (2 + 4 + 8) * 8 * 24 * 24 * 10
    rng = Random(0)
    for _ in range(20):
        assert space.freeze(space.random(rng)).eval()(X).shape == X.shape


def test_a_frozen_layer_choice_leaves_nothing_around_it():
    arch = {**Own().random(Random(0)), "op": "0", "depth": 1, "kernel_0": 1}
    assert {"op.weight", "row.0.weight"} <= set(Own().freeze(arch).state_dict())


class TestInputChoice:
    @pytest.mark.parametrize(
        ("reduction", "expected"),
        [("sum", X + 3 * X), ("mean", 2 * X), ("concat", torch.cat([X, 3 * X], 1))],
    )
    def test_reductions(self, reduction, expected):
        choice = InputChoice(FrozenPicker({"c": [0, 2]}), "c", n_candidates=3, n_chosen=2, reduction=reduction)
        torch.testing.assert_close(choice([X, 2 * X, 3 * X]), expected)

    def test_none_of_them(self):
        choice = InputChoice(FrozenPicker({"c": []}), "c", n_candidates=2, n_chosen=None)
        assert not choice([X, X]).any()

    def test_errors(self):
        with pytest.raises(SpaceError, match="reduction = 'max' is not one of"):
            InputChoice(FrozenPicker({}), "c", n_candidates=2, reduction="max")
        with pytest.raises(SpaceError, match="cannot choose n_chosen = 3 of n_candidates = 2"):
            InputChoice(FrozenPicker({}), "c", n_candidates=2, n_chosen=3)


class TestAutoActivation:
    def test_swish(self):
        arch = {"a/unary_0": "scale", "a/unary_1": "identity", "a/binary_0": "gate"}
        torch.testing.assert_close(AutoActivation(FrozenPicker(arch), "a")(X), functional.silu(X))

    def test_units_in_a_row(self):
        arch = {"a/unary_0": "square", "a/unary_1": "relu", "a/unary_2": "negative"}
        arch |= {"a/binary_0": "add", "a/binary_1": "multiply"}
        found = AutoActivation(FrozenPicker(arch), "a", units=2)(X)
        torch.testing.assert_close(found, (X.square() + X.relu()) * -X)

    @pytest.mark.parametrize("unary", UNARY_CANDIDATES)
    def test_every_unary_function_is_finite_with_its_gradient(self, unary):
        self.check({"a/unary_0": unary, "a/unary_1": "identity", "a/binary_0": "add"})

    @pytest.mark.parametrize("binary", BINARY_CANDIDATES)
    def test_every_binary_function_is_finite_with_its_gradient(self, binary):
        self.check({"a/unary_0": "identity", "a/unary_1": "softplus", "a/binary_0": binary})

    @staticmethod
    def check(arch):
        x = X.clone().requires_grad_()
        y = AutoActivation(FrozenPicker(arch), "a")(x)
        y.sum().backward()
        assert y.shape == x.shape
        assert torch.isfinite(y).all()
        assert torch.isfinite(x.grad).all()

    def test_unknown_functions_get_a_suggestion(self):
        with pytest.raises(SpaceError, match="Did you mean tanh"):
            AutoActivation(FrozenPicker({}), "a", unary=("tan",))


class TestDropPath:
    def test_keeps_the_mean_in_training_and_is_nothing_otherwise(self):
        torch.manual_seed(0)
        layer = DropPath(0.25)
        y = layer(torch.ones(20_000, 2))
        assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
        assert abs(y.mean().item() - 1) < 0.02
        assert (y[:, 0] == y[:, 1]).all()
        assert layer.eval()(X) is X

    def test_all_cannot_be_dropped(self):
        with pytest.raises(SpaceError, match="prob = 1"):
            DropPath(1.0)
