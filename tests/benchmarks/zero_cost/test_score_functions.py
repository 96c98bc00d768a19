"""One matrix over every space of the hub: which scores are defined, that they do not change the network, and seeds."""

from __future__ import annotations

import copy
import math
from random import Random

import pytest
import torch
from torch import nn

from hubserve.benchmarks.zero_cost import SCORES, defined_scores, zero_cost_scores
from hubserve.errors import EvaluatorError, UndefinedScoreError
from hubserve.hub import NasBench201, get_space
from tests.hub.image_spaces import IMAGE_SPACES
from tests.hub.test_training import SMALL
from tests.marks import slow_but

QUICK = {"NasBench201", "AutoFormer"}
FOR_ALL = ("jacov", "snip", "params", "macs")
DEFINED = dict.fromkeys(IMAGE_SPACES, tuple(SCORES)) | {"AutoFormer": FOR_ALL}


def batch(images: int = 4, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images, 3, size, size, generator=generator), torch.arange(images)


def network_of(name: str, seed: int = 0) -> nn.Module:
    space = get_space(name, SMALL[name])
    return space.freeze(space.random(Random(seed)))


@pytest.mark.parametrize("training", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", slow_but(IMAGE_SPACES, QUICK))
def test_every_space(name, training):
    network, given = network_of(name).train(training), batch()
    next(network.parameters()).grad = torch.ones_like(next(network.parameters()))
    before, grad, images = copy.deepcopy(network.state_dict()), copy.copy(next(network.parameters()).grad), given[0].clone()
    rng = torch.get_rng_state()

    assert defined_scores(network, given) == DEFINED[name]
    first = zero_cost_scores(network, given, DEFINED[name])

    assert all(map(math.isfinite, first.values())), first
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    assert all(module.training == training for module in network.modules())
    assert torch.equal(next(network.parameters()).grad, grad)
    assert sum(parameter.grad is not None for parameter in network.parameters()) == 1
    assert torch.equal(given[0], images)
    torch.manual_seed(99)  # Only `seed` counts.
    assert zero_cost_scores(network, given, DEFINED[name]) == first


def test_a_transformer_is_refused_by_a_score_that_is_not_defined_for_it():
    with pytest.raises(UndefinedScoreError, match=r"naswot is not defined for \w+: it has no ReLU. snip and jacov are defined"):
        zero_cost_scores(network_of("AutoFormer"), batch())


def test_the_seed_counts():
    network = network_of("NasBench201")
    scores = {seed: zero_cost_scores(network, batch(), ["zen", "naswot"], seed=seed) for seed in (1, 2)}
    assert scores[1]["zen"] != scores[2]["zen"]
    assert scores[1]["naswot"] == scores[2]["naswot"]  # It draws nothing.


def test_dropout_is_off():
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(768, 8), nn.ReLU(), nn.Linear(8, 10)).train()
    without = nn.Sequential(network[0], *network[2:])
    names = ["naswot", "jacov", "snip", "synflow"]
    assert zero_cost_scores(network, batch(), names) == zero_cost_scores(without, batch(), names)


def test_parameters_that_are_frozen_and_no_grad():
    network = network_of("NasBench201")
    expected = zero_cost_scores(network, batch())
    with torch.no_grad():
        assert zero_cost_scores(network.requires_grad_(False), batch()) == expected
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_network_that_only_has_zero_operations():
    space = NasBench201(**SMALL["NasBench201"])
    least = zero_cost_scores(space.freeze(dict.fromkeys(space.choices, "none")), batch())
    most = zero_cost_scores(space.freeze(dict.fromkeys(space.choices, "conv_3x3")), batch())
    assert all(math.isfinite(value) for value in least.values())
    assert all(least[name] < most[name] for name in SCORES), (least, most)


def test_parameters_and_macs_by_hand():
    network = nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Linear(2 * 256, 10))
    found = zero_cost_scores(network, batch(), ["macs", "params"])
    assert found == {"macs": 256 * 2 * 27 + 5120, "params": 54 + 2 + 5120 + 10}
    assert list(found) == ["macs", "params"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["naswott"], "no zero-cost score 'naswott'. Did you mean naswot?"),
        ([], "no zero-cost score is named; name some of naswot,"),
    ],
)
def test_names_that_are_refused(names, message):
    with pytest.raises(EvaluatorError) as found:
        zero_cost_scores(nn.ReLU(), batch(), names)
    assert message in str(found.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_scores_on_a_gpu_are_near_those_on_the_cpu():
    network = network_of("NasBench201")
    # zen draws other weights there.
    names = [name for name in SCORES if name != "zen"]
    there = zero_cost_scores(network.cuda(), batch(), names)
    assert there == pytest.approx(zero_cost_scores(network.cpu(), batch(), names), rel=1e-2)
