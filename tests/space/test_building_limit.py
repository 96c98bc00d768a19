"""A limit on networks stops a huge one while it is built, and forgets those that are gone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hubserve.errors import SpaceError
from hubserve.hub.registry import get_space
from hubserve.space.building_limit import limit_networks


def test_modules_are_counted_while_they_are_built():
    with limit_networks(modules=500, parameters=None), pytest.raises(SpaceError, match="more than the 500 modules"):
        _ = get_space("NasBench201", {"num_modules_per_stack": 100_000}).choices


def test_parameters_are_counted_without_memory():
    with limit_networks(modules=None, parameters=10**6), torch.device("meta"), pytest.raises(SpaceError, match="parameters"):
        nn.Sequential(nn.Linear(100_000, 100_000))


def test_what_is_gone_does_not_count():
    with limit_networks(modules=10, parameters=1000):
        for _ in range(20):
            nn.Sequential(*(nn.Linear(8, 8) for _ in range(8)))


def test_outside_of_the_block_there_is_no_limit():
    with limit_networks(modules=1, parameters=1):
        pass
    assert len(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))) == 2
