"""Fresh weights: the distributions that their names say."""

from __future__ import annotations

import math

import pytest
import torch

from hubserve.blocks.fast_init import init_normal, init_truncated_normal, init_uniform


def normal_share(x: float) -> float:
    """Probability that N(0, 1) is at most x."""
    return (1 + math.erf(x / 2**0.5)) / 2


DISTRIBUTIONS = {
    "normal": (lambda w: init_normal(w, std=0.5), lambda x: normal_share(x / 0.5)),
    "truncated": (
        lambda w: init_truncated_normal(w, std=0.5),
        lambda x: min(max((normal_share(x / 0.5) - normal_share(-2)) / (normal_share(2) - normal_share(-2)), 0.0), 1.0),
    ),
    "uniform": (lambda w: init_uniform(w, bound=0.5), lambda x: min(max(x + 0.5, 0.0), 1.0)),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
class TestDistributions:
    def test_share_below(self, name):
        """Kolmogorov and Smirnov's distance; 1.95 / sqrt(n) is exceeded by chance once in a thousand times."""
        fill, share = DISTRIBUTIONS[name]
        torch.manual_seed(0)
        weight = torch.empty(300, 500)
        fill(weight)
        ordered = weight.view(-1).sort().values
        n = len(ordered)
        distance = max(abs(share(ordered[i].item()) - (i + 0.5) / n) for i in range(0, n, 97))
        assert distance < 1.95 / n**0.5

    def test_neighbours_and_filters_are_independent(self, name):
        fill, _ = DISTRIBUTIONS[name]
        torch.manual_seed(1)
        weight = torch.empty(400, 400)
        fill(weight)
        z = (weight - weight.mean()) / weight.std()
        for shift in (1, 2, 3, 4, 65_536):
            flat = z.view(-1)
            assert abs((flat[shift:] * flat[:-shift]).mean().item()) < 4 / (len(flat) - shift) ** 0.5

    def test_the_seed_decides(self, name):
        fill, _ = DISTRIBUTIONS[name]
        weights = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            weights.append(torch.empty(7, 3, 5))
            fill(weights[-1])
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])

    def test_nothing_happens_on_the_meta_device(self, name):
        weight = torch.empty(3, 3, device="meta")
        DISTRIBUTIONS[name][0](weight)
        assert weight.is_meta

    def test_parameters_may_need_gradients(self, name):
        weight = torch.nn.Parameter(torch.zeros(5, 5))
        DISTRIBUTIONS[name][0](weight)
        assert weight.abs().sum() > 0
        assert weight.grad_fn is None

    def test_a_weight_of_the_cpu_while_others_are_made_elsewhere(self, name):
        weight = torch.empty(100, 100)
        with torch.device("meta"):
            DISTRIBUTIONS[name][0](weight)
        assert weight.std() > 0.1
