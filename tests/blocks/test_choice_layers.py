"""LayerChoice, InputChoice and Repeat in a space of one's own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from random import Random

import pytest
import torch
from torch import nn

from hubserve.blocks import AutoActivation, InputChoice, LayerChoice, Repeat
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

    @pytest.mark.parametrize("reduction", ["sum", "mean", "concat"])
    @pytest.mark.parametrize("chosen", [[], [1], [0, 2]])
    def test_script(self, reduction, chosen):
        choice = InputChoice(FrozenPicker({"c": chosen}), "c", n_candidates=3, n_chosen=None, reduction=reduction)
        tensors = [X, 2 * X, 3 * X]
        torch.testing.assert_close(torch.jit.script(choice)(tensors), choice(tensors))

    def test_none_of_them(self):
        choice = InputChoice(FrozenPicker({"c": []}), "c", n_candidates=2, n_chosen=None)
        assert not choice([X, X]).any()

    def test_errors(self):
        with pytest.raises(SpaceError, match="reduction = 'max' is not one of"):
            InputChoice(FrozenPicker({}), "c", n_candidates=2, reduction="max")
        with pytest.raises(SpaceError, match="cannot choose n_chosen = 3 of n_candidates = 2"):
            InputChoice(FrozenPicker({}), "c", n_candidates=2, n_chosen=3)


class TestRepeat:
    def test_a_number_is_no_choice(self):
        row = Repeat(FrozenPicker({}), "depth", 2, lambda i: nn.Conv2d(4, 4, 2 * i + 1))
        assert [conv.kernel_size for conv in row] == [(1, 1), (3, 3)]

    def test_senseless_depths(self):
        for depth in (-1, (3, 2), ("1", "2"), (0.5, 2)):
            with pytest.raises(SpaceError, match="choice 'depth'"):
                Repeat(FrozenPicker({"depth": 1}), "depth", depth, lambda i: nn.Identity())


def test_a_layer_choice_needs_candidates():
    with pytest.raises(SpaceError, match="'op' has no candidates"):
        LayerChoice(FrozenPicker({"op": "0"}), "op", [])

    @pytest.mark.parametrize("chosen", [[], [1], [0, 2]])
    def test_without_a_reduction_the_chosen_tensors_are_returned(self, chosen):
        choice = InputChoice(FrozenPicker({"c": chosen}), "c", n_candidates=3, n_chosen=None, reduction="none")
        tensors = [X, 2 * X, 3 * X]
        assert all(found is tensors[i] for found, i in zip(choice(tensors), chosen, strict=True))

    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="TorchScript does not support this Python")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_torchscript_compiles_a_sum_and_refuses_a_list(self):
        tensors = [X, 2 * X]
        for reduction in ("sum", "mean", "concat"):
            choice = InputChoice(FrozenPicker({"c": [0, 1]}), "c", n_candidates=2, n_chosen=2, reduction=reduction)
            torch.testing.assert_close(torch.jit.script(choice)(tensors), choice(tensors))
        with pytest.raises(RuntimeError, match="Return value was annotated"):
            torch.jit.script(InputChoice(FrozenPicker({"c": [0]}), "c", n_candidates=2, reduction="none"))


@pytest.mark.parametrize("depth", [[2, 4], {4, 2}, frozenset({2, 4}), range(2, 5, 2)])
def test_a_depth_of_exactly_two_or_four(depth):
    @dataclass(frozen=True)
    class Deep(ModelSpace):
        depth: object

        def build(self, pick):
            return Repeat(pick, "depth", self.depth, lambda i: nn.Linear(2, pick(f"out_{i}", (2,))))

    if depth == [2, 4]:  # A setting is made a tuple, and a tuple of two is a range: sets are not.
        assert Deep(depth).choices["depth"].candidates == (2, 3, 4)
        return
    space = Deep(depth)
    assert hash(space) == hash(Deep(depth))
    assert space.choices["depth"].candidates == (2, 4)
    assert [len(space.freeze(space.grid_arch(i))) for i in range(space.count())] == [2, 4]
