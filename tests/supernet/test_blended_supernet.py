"""Candidates that take part by their weights."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from random import Random

import pytest
import torch
from torch import nn

from hubserve.errors import SupernetError
from hubserve.space import ModelSpace
from hubserve.supernet import Blend, BlendedSupernet
from hubserve.supernet.blended_network import BlendedNetworkBuilder
from tests.marks import slow_but
from tests.supernet.spaces import CHANNELS, TINY, Small, images

SPACES = {**TINY, "ShuffleNetSpace-channels": CHANNELS, "Small": Small()}
QUICK = {"Small", "NasBench201", "ProxylessNAS", "AutoFormer", "PNAS"}
LOOSE_ENDS = ("NASNet", "ENAS", "AmoebaNet")
"""Their blended cells give all nodes, their single cells only those that no other node reads."""


@pytest.fixture(scope="module")
def nets():
    """Each space's blended supernet, built and proven when first asked for."""
    built: dict[str, BlendedSupernet] = {}

    def get(name: str) -> BlendedSupernet:
        if name not in built:
            built[name] = BlendedSupernet(SPACES[name])
            built[name].prove(images(4))
        return built[name]

    return get


def weigh(net: BlendedSupernet, arch: dict) -> tuple[dict[str, Blend], dict]:
    """All weight on `arch`."""
    answers = {**net.archs.likeliest(), **arch}
    blends = {label: Blend.only(net.space.choices[label], answers[label]) for label in net.blended}
    return blends, {label: answers[label] for label in net.sampled}


@pytest.mark.parametrize("name", slow_but(SPACES, QUICK))
class TestEverySpace:
    def test_all_weight_on_one_arch_is_that_arch(self, nets, name):
        if name in LOOSE_ENDS:
            pytest.skip("single cells give fewer nodes")
        net, rng, x = nets(name).eval(), Random(1), images()
        for _ in range(2):
            arch = SPACES[name].random(rng)
            with torch.no_grad():
                net.supernet.train()(images(8, seed=2), arch)  # Fresh statistics would hide the input from a deep network.
                net.eval()
                expected, found = net.supernet(x, arch), net(x, *weigh(net, arch))
            assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))

    def test_gradients_reach_the_logits_of_what_is_blended(self, nets, name):
        net = nets(name).train()
        net.zero_grad()
        output = net(images(4))
        (output * torch.randn_like(output)).sum().backward()
        assert {label for label, logits in net.archs.logits.items() if logits.grad is not None} == net.blended
        # Where images have shrunk to a point, all kernels are one.
        for label in (label for label in net.blended if not label.endswith("_ks")):
            assert net.archs.logits[label].grad.abs().sum() > 0, label

    def test_every_choice_is_blended_or_sampled(self, nets, name):
        net = nets(name)
        assert net.blended.isdisjoint(net.sampled)
        assert net.blended | net.sampled == {label for label, c in SPACES[name].choices.items() if c.size > 1}

    def test_ends_in_a_valid_arch(self, nets, name):
        net = nets(name)
        SPACES[name].validate(net.archs.arch())
        SPACES[name].validate(net.archs.draw_arch(Random(0)))

    def test_estimates_its_activations(self, nets, name):
        net = nets(name)
        one, two = (net.activation_bytes(images(batch)) for batch in (4, 8))
        assert 0 < one < two <= 2 * one

    def test_runs_where_the_shared_weights_are(self, nets, name):
        # As on a GPU: only the weights and the batch are there, logits and masks are not.
        net = copy.deepcopy(nets(name))
        net.supernet.to("meta")
        output = net(images(4).to("meta"))
        assert output.device.type == "meta"
        assert output.requires_grad
        assert all(logits.device.type == "cpu" for logits in net.archs.logits.values())


class TestWhatIsSampled:
    def test_graphs_and_numbers_of_cells(self, nets):
        assert nets("NasBench101").blended == frozenset()
        assert nets("DARTS").sampled == {"width", "depth"}

    @pytest.mark.slow
    def test_nothing_where_masks_are_exact(self, nets):
        for name in ("MobileNetV3Space", "AutoFormer", "ShuffleNetSpace-channels", "ProxylessNAS", "NasBench201", "Small"):
            assert nets(name).sampled == frozenset(), name

    def test_a_small_difference_that_is_none_of_rounding_needs_more_masks(self, nets):
        """AutoFormer's outputs are 1.3 % off without them, which is what rounding makes in deep networks of ShuffleNetSpace."""
        assert nets("AutoFormer").plan.masks_everywhere

    def test_double_precision_is_that_of_a_copy(self, nets):
        net, x = nets("Small").eval(), images(2)
        arch = SPACES["Small"].random(Random(0))
        builder = BlendedNetworkBuilder(net.supernet)
        with torch.no_grad():
            exact, single = (each.single(arch).eval() for each in (builder.in_double_precision(), builder))
            assert exact(x.double()).dtype is torch.float64
            assert torch.allclose(exact(x.double()).float(), single(x), rtol=1e-4, atol=1e-5)
        assert {parameter.dtype for parameter in net.supernet.parameters()} == {torch.float32}

    def test_score_function_learns_by_log_probabilities(self, nets):
        net = nets("NasBench101")
        arch = SPACES["NasBench101"].random(Random(0))
        net.zero_grad()
        net.archs.log_probability(arch).backward()
        assert net.archs.logits["cell/num_nodes"].grad.abs().sum() > 0
        # Operations of vertices that the cell has not do not matter.
        beyond = f"cell/op{arch['cell/num_nodes'] - 1}"
        if beyond in net.archs.logits:
            assert net.archs.logits[beyond].grad is None

    def test_few_structures_are_kept_ready(self):
        net = BlendedSupernet(SPACES["NasBench101"], cache=3)
        rng, x = Random(0), images()
        drawn = [net.sample(rng) for _ in range(6)]
        networks = [net.network(sampled, x) for sampled in drawn]
        assert len(net._networks) == 3
        assert net.network(drawn[-1], x) is networks[-1]
        assert net.network(drawn[0], x) is not networks[0]

    def test_drawn_answers_follow_the_probabilities(self, nets):
        net = nets("DARTS")
        with torch.no_grad():
            net.archs.logits["width"].copy_(torch.tensor([0.0, 2.0]))
        rng = Random(0)
        share = sum(net.sample(rng)["width"] == 6 for _ in range(400)) / 400
        assert share == pytest.approx(0.881, abs=0.05)


@dataclass(frozen=True)
class Strided(ModelSpace):
    """Depths, and candidates, whose outputs differ in shape."""

    layers: bool

    def build(self, pick):
        if self.layers:
            return nn.Sequential(
                pick.layer("op", {"same": lambda: nn.Conv2d(3, 3, 1), "half": lambda: nn.Conv2d(3, 3, 1, stride=2)}),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
            )
        blocks = pick.repeat("depth", (1, 2), lambda i: nn.Conv2d(3, 3, 1, stride=2))
        return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@dataclass(frozen=True)
class Skipped(ModelSpace):
    """A layer that some names leave out of a row, and a name that changes nothing to be seen."""

    def build(self, pick):
        extra = [nn.Conv2d(3, 3, 3, padding=1)] if pick("extra", ("no", "yes")) == "yes" else []
        factor = {"half": 0.5, "all": 1.0}[pick("factor", ("half", "all"))]
        return nn.Sequential(nn.Conv2d(3, 3, 1), *extra, nn.AdaptiveAvgPool2d(1), nn.Flatten(), Times(factor))


@dataclass(frozen=True)
class Broken(ModelSpace):
    """Networks that give no numbers."""

    def build(self, pick):
        conv = nn.Conv2d(3, pick("width", (2, 4)), 1)
        return nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(conv.out_channels, 4), Times(math.nan))


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class TestSpacesOfOnesOwn:
    def test_candidates_of_different_shapes_are_refused_by_name(self):
        net = BlendedSupernet(Strided(layers=True))
        with pytest.raises(SupernetError, match=r"candidates of 'op' give different shapes"):
            net(images())

    def test_depths_of_different_shapes_are_sampled(self):
        net = BlendedSupernet(Strided(layers=False))
        net.prove(images())
        assert net.sampled == {"depth"}

    def test_outputs_that_are_not_finite_prove_nothing(self):
        net = BlendedSupernet(Broken())
        net.prove(images())
        assert net.sampled == {"width"}

    def test_an_optional_layer_is_passed_by_with_the_rest_of_the_weight(self):
        net = BlendedSupernet(Skipped())
        net.prove(images())
        assert (net.blended, net.sampled) == ({"extra"}, {"factor"})
        x, half = images(), {"extra": Blend.all_of(torch.tensor([0.5, 0.5]))}
        one, two = (net.supernet(x, {"extra": extra, "factor": "all"}) for extra in ("no", "yes"))
        found = net(x, half, {"factor": "all"})
        assert torch.allclose(found, (one + two) / 2, atol=1e-6)

    def test_a_blend_of_depths_is_the_sum_of_what_comes_out_at_each(self):
        net = BlendedSupernet(Small())
        net.prove(images())
        arch = {"width": 16, "depth": 1, "op_0": "conv", "ks_0": 3, "op_1": "pool", "op_2": "conv", "ks_2": 5}
        blends, _ = weigh(net, arch)
        pooled = {}
        for depth in (1, 2, 3):
            hidden = net.supernet.subnet({**arch, "depth": depth}).network[:-2](images())
            pooled[depth] = hidden
        mean = sum(weight * pooled[depth] for weight, depth in ((0.2, 1), (0.3, 2), (0.5, 3)))
        blends["depth"] = Blend.all_of(torch.tensor([0.2, 0.3, 0.5]))
        last = net.supernet.subnet(arch).network[-1]
        assert torch.allclose(net(images(), blends), last(mean.flatten(1)), atol=1e-5)

    def test_candidates_that_are_not_held_do_not_run(self):
        net = BlendedSupernet(TINY["NasBench201"])
        ran = []
        for module in net.network(x=images()).subnet.network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda *_: ran.append(1))
        n = {}
        for op in ("none", "conv_3x3"):
            ran.clear()
            net(images(), weigh(net, dict.fromkeys(net.archs.logits, op))[0])
            n[op] = len(ran)
        assert n["conv_3x3"] == n["none"] + 18  # Three cells of six edges.
