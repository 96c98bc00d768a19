"""No drawn network is larger than the largest one, or smaller than the smallest."""

from __future__ import annotations

from random import Random

import pytest

from hubserve.supernet.extreme_archs import largest_arch, smallest_arch
from tests.supernet.spaces import TINY


@pytest.mark.parametrize("name", ["NasBench201", "MobileNetV3Space", "AutoFormer"])
def test_random_networks_lie_between(name):
    space = TINY[name]

    def parameters(arch):
        return sum(parameter.numel() for parameter in space.freeze(arch).parameters())

    low, high = parameters(smallest_arch(space)), parameters(largest_arch(space))
    rng = Random(0)
    assert all(low <= parameters(space.random(rng)) <= high for _ in range(20))
    assert low < high


def test_a_space_that_refuses_combinations_has_two_allowed_archs():
    space = TINY["NasBench101"]
    space.validate(smallest_arch(space))
    space.validate(largest_arch(space))


def test_answers_of_equal_size_are_those_that_pass_something_on():
    assert set(smallest_arch(TINY["NasBench201"]).values()) == {"avg_pool_3x3"}
    assert set(largest_arch(TINY["NasBench201"]).values()) == {"conv_3x3"}
