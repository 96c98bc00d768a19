"""The policy starts uniform, and its probabilities are right."""

from __future__ import annotations

import math
from random import Random as Rng

import pytest
import torch

from hubserve.strategy.lstm_policy import Episode, Policy, log_probabilities


def test_the_first_one_is_uniform():
    logits = Episode(Policy(8, seed=0)).logits("a.b", 5)
    assert torch.equal(logits, torch.zeros(1, 5))


def test_probabilities_of_all_archs_sum_to_one():
    policy = Policy(8, seed=0)
    trials = [(("a", 3, i), ("b", 2, j)) for i in range(3) for j in range(2)]
    log_probabilities(policy, trials)
    with torch.no_grad():
        for parameter in policy.heads.values():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    totals, entropies = log_probabilities(policy, trials)
    assert totals.exp().sum().item() == pytest.approx(1, abs=1e-5)
    assert len({round(total, 4) for total in totals.tolist()}) == 6
    # What follows the first answer depends on it; averaged over the first, the walks' entropy is the policy's.
    assert (totals.exp() * entropies).sum().item() == pytest.approx(-(totals.exp() * totals).sum().item(), abs=1e-5)


def test_archs_of_several_shapes_are_kept_in_order():
    policy = Policy(8, seed=0)
    trials = [(("a", 2, 0), ("b", 3, 1)), (("a", 2, 1),), (("a", 2, 0), ("b", 3, 1))]
    totals, _ = log_probabilities(policy, trials)
    assert totals.tolist() == pytest.approx([math.log(1 / 6), math.log(1 / 2), math.log(1 / 6)])


def test_weights_do_not_depend_on_when_a_label_is_met():
    one, other = Policy(8, seed=0), Policy(8, seed=0)
    Episode(one).sample("a", 3, Rng(0))
    Episode(one).sample("b", 2, Rng(0))
    Episode(other).sample("b", 2, Rng(0))
    assert torch.equal(one.answers["b"], other.answers["b"])
    assert not torch.equal(one.answers["b"], Policy(8, seed=1)._noise("answers/b", (2, 8)) * 0.1)
