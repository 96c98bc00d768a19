"""Vectors of archs that count equal answers: where choices have the same candidates, an answer counts in any of them."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random as Rng

import numpy as np
import pytest
from torch import nn

from hubserve.hub import get_space
from hubserve.space import ModelSpace
from hubserve.strategy.answer_counts import SHARE, CountedVectors, grid_vectors
from hubserve.strategy.arch_vectors import ArchVectors
from tests.strategy.test_arch_vectors import KINDS


@dataclass(frozen=True)
class TwoGroups(ModelSpace):
    """Four choices of an operation, one of which is not always active, two of a width, and one of a size of its own."""

    def build(self, pick):
        for i in range(3):
            pick(f"op{i}", ("conv", "pool", "skip"))
        for i in range(2):
            pick(f"width{i}", (8, 16))
        pick.layer("size", {"one": nn.Identity, "more": lambda: (pick("op3", ("conv", "pool", "skip")), nn.Identity())[1]})
        return nn.Identity()


ARCH = {"op0": "conv", "op1": "pool", "op2": "pool", "width0": 8, "width1": 16, "size": "one"}


def products(**changed) -> tuple[float, float]:
    """The inner products with an arch that is changed: that of `ArchVectors`, and that of the counts."""
    archs = [ARCH, {**ARCH, **changed}]
    single = ArchVectors(TwoGroups())(archs)
    both = CountedVectors(TwoGroups())(archs)
    plain = float(single[0] @ single[1])
    return plain, (float(both[0] @ both[1]) - (1 - SHARE) * plain) / SHARE


@pytest.mark.parametrize(
    ("changed", "operations", "widths"),
    [
        ({}, 1, 1),
        # The same operations and widths in other places are wholly alike by their counts.
        ({"op0": "pool", "op1": "conv", "width0": 16, "width1": 8}, 1, 1),
        # Counts (1, 2, 0, 1) and (2, 1, 0, 1) of conv, pool, skip and inactive.
        ({"op1": "conv"}, 5 / 6, 1),
        ({"op0": "skip", "op1": "skip", "op2": "skip"}, 1 / 60**0.5, 1),
        ({"size": "more", "op3": "pool"}, 7 / 60**0.5, 1),
        ({"width1": 8}, 1, 0.5**0.5),
    ],
)
def test_counts_of_a_group_are_compared(changed, operations, widths):
    """Four choices of operations and two of widths weigh 4 to 2."""
    plain, counted = products(**changed)
    assert counted == pytest.approx((4 * operations + 2 * widths) / 6, abs=1e-5)
    assert (plain == pytest.approx(1)) == (changed == {})


@pytest.mark.parametrize("name", ["NasBench201", "MobileNetV3Space", "ENAS", "NasBench101"])
def test_every_arch_is_wholly_like_itself(name):
    space = get_space(name)
    rng = Rng(0)
    vectors = CountedVectors(space)([space.random(rng) for _ in range(5)])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)


def test_a_space_without_equal_candidates_has_the_vectors_of_its_answers():
    archs = [KINDS.random(Rng(seed)) for seed in range(4)]
    np.testing.assert_array_equal(CountedVectors(KINDS)(archs), ArchVectors(KINDS)(archs))


def test_the_grid_has_the_allowed_archs():
    archs, vectors = grid_vectors(KINDS)
    assert len(archs) == KINDS.count() == 3 * 3 * 3 * 3 * 16
    assert np.linalg.matrix_rank(np.unique(vectors, axis=0)) > 8
