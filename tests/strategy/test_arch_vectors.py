"""Vectors of archs: their inner products say how much two archs have in common."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random as Rng

import numpy as np
import pytest
from torch import nn

from hubserve.hub import get_space
from hubserve.space import ModelSpace
from hubserve.strategy.arch_vectors import ArchVectors


@dataclass(frozen=True)
class KindsOfChoices(ModelSpace):
    """A choice of each kind: names, numbers, one that is not always active, k inputs, any inputs."""

    def build(self, pick):
        pick("name", ("a", "b", "c"))
        pick("width", (8, 32, 16))
        pick.layer("kind", {"skip": nn.Identity, "conv": lambda: (pick("kernel", ("one", "three")), nn.Identity())[1]})
        pick.inputs("two", 3, n_chosen=2)
        pick.inputs("any", 4, n_chosen=None)
        return nn.Identity()


KINDS = KindsOfChoices()


ARCH = {"name": "a", "width": 8, "kind": "skip", "two": [0, 1], "any": [0]}


def alike(**changed) -> float:
    """The inner product with an arch that is changed, in choices of the six."""
    vectors = ArchVectors(KINDS)([ARCH, {**ARCH, **changed}])
    return float(vectors[0] @ vectors[1]) * 6


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 6),
        ({"name": "b"}, 5),
        ({"width": 16}, 5.25),
        ({"width": 32}, 5),
        ({"kind": "conv", "kernel": "one"}, 4),
        ({"two": [1, 2]}, 5.5),
        ({"any": [0, 1]}, 5.75),
        ({"any": [1, 2, 3]}, 5),
    ],
)
def test_a_change_counts_as_documented(changed, expected):
    assert alike(**changed) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", ["NasBench201", "MobileNetV3Space", "ENAS"])
def test_every_arch_is_wholly_like_itself(name):
    space = get_space(name)
    rng = Rng(0)
    vectors = ArchVectors(space)([space.random(rng) for _ in range(5)])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
