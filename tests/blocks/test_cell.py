"""The cell is the sum that its genotype says."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hubserve.blocks import Cell
from hubserve.errors import SpaceError
from hubserve.space import ModelSpace


class Times(nn.Module):
    """Multiplies: a cell of these can be added up by hand."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


OPERATIONS = {"double": lambda source: Times(2.0), "triple": lambda source: Times(3.0), "skip": lambda source: nn.Identity()}
FACTORS = {"double": 2.0, "triple": 3.0, "skip": 1.0}
A, B = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)


def by_hand(genotype, inputs, merge):
    states = list(inputs)
    for edges in genotype:
        states.append(sum(FACTORS[name] * states[source] for name, source in edges))
    read = {source for edges in genotype for _, source in edges}
    ends = [i for i in range(len(inputs), len(states)) if merge == "all" or i not in read]
    return ends, torch.cat([states[i] for i in ends], 1)


@st.composite
def genotypes(draw):
    return [
        draw(st.lists(st.tuples(st.sampled_from(list(OPERATIONS)), st.integers(0, node - 1)), min_size=1, max_size=3))
        for node in range(2, 2 + draw(st.integers(1, 4)))
    ]


@given(genotype=genotypes(), merge=st.sampled_from(["all", "loose_end"]))
@settings(max_examples=40, deadline=None)
def test_any_genotype(genotype, merge):
    cell = Cell.of(genotype, OPERATIONS, preprocess=[nn.Identity(), Times(10.0)], merge=merge)
    ends, expected = by_hand(genotype, [A, 10 * B], merge)
    assert cell.outputs == ends
    torch.testing.assert_close(cell([A, B]), expected)


def test_script():
    cell = Cell.of([[("double", 0), ("skip", 1)], [("triple", 2)]], OPERATIONS, preprocess=[nn.Identity(), nn.Identity()])
    torch.testing.assert_close(torch.jit.script(cell)([A, B]), cell([A, B]))


class TestDropPath:
    @pytest.fixture
    def cell(self):
        genotype = [[("double", 0), ("skip", 1)]]
        return Cell.of(genotype, OPERATIONS, preprocess=[nn.Identity(), nn.Identity()], drop_path_prob=0.5)

    def test_drops_operations_of_single_samples_but_no_identity(self, cell):
        torch.manual_seed(0)
        ones = torch.ones(4000, 1, 1, 1)
        y = cell([ones, ones]).flatten()
        assert set(y.tolist()) == {1.0, 1.0 + 2.0 / 0.5}
        assert abs(y.mean().item() - 3) < 0.15
        assert torch.equal(cell.eval()([A, B]), 2 * A + B)

    def test_adds_no_keys(self):
        def keys(prob):
            make = {"conv": lambda source: nn.Conv2d(1, 1, 1)}
            return list(Cell.of([[("conv", 0)]], make, preprocess=[nn.Identity()], drop_path_prob=prob).state_dict())

        assert keys(0.0) == keys(0.5) == ["ops.0.0.weight", "ops.0.0.bias"]


@dataclass(frozen=True)
class Asking(ModelSpace):
    def build(self, pick):
        return Cell.ask(pick, "cell", OPERATIONS, n_nodes=2, preprocess=[nn.Identity(), nn.Identity()], merge="loose_end")


class TestAsking:
    def test_labels(self):
        choices = Asking().choices
        wanted = [f"cell/{what}_{node}_{k}" for node in (2, 3) for k in (0, 1) for what in ("input", "op")]
        assert list(choices) == wanted
        assert choices["cell/input_3_1"].candidates == (0, 1, 2)
        assert choices["cell/op_2_0"].candidates == tuple(OPERATIONS)
        assert Asking().count() == 3**4 * 2**2 * 3**2

    def test_is_the_cell_of_its_genotype(self):
        rng = Random(0)
        for _ in range(10):
            arch = Asking().random(rng)
            edges = [[(arch[f"cell/op_{i}_{k}"], arch[f"cell/input_{i}_{k}"][0]) for k in (0, 1)] for i in (2, 3)]
            expected = Cell.of(edges, OPERATIONS, preprocess=[nn.Identity(), nn.Identity()], merge="loose_end")
            torch.testing.assert_close(Asking().freeze(arch)([A, B]), expected([A, B]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genotype": [[("triple", 0)], [("tripel", 1)]]}, "no operation 'tripel'. Did you mean triple"),
        ({"genotype": [[("skip", 0)], []]}, "node 2 of the cell has no edge"),
        ({"genotype": [[("skip", 1)]]}, "node 1 of the cell reads state 1; it may read 0 to 0"),
        ({"genotype": [[("skip", -1)]]}, "reads state -1"),
        ({"genotype": []}, "a cell needs a node and an input; it has 0 nodes"),
        ({"preprocess": []}, "0 layers in preprocess"),
        ({"merge": "last"}, "merge = 'last' is not one of"),
        ({"drop_path_prob": 1.0}, r"drop_path_prob = 1.0 must lie in \[0, 1\)"),
    ],
)
def test_errors(change, message):
    settings = {"genotype": [[("skip", 0)]], "operations": OPERATIONS, "preprocess": [nn.Identity()], **change}
    with pytest.raises(SpaceError, match=message):
        Cell.of(**settings)
