"""Networks cut from a trained one with fitted blocks, in small networks of both spaces that can be cut."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from hubserve.blocks.mobile import MobileBlock
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.mobilenet_v3 import MobileNetV3Space
from hubserve.hub.proxyless import ProxylessNAS
from hubserve.supernet import network_fit
from hubserve.supernet.block_fit import block_error, fit_block, middle
from hubserve.supernet.elastic_space import ElasticSpace
from hubserve.supernet.elastic_supernet import ElasticSupernet
from hubserve.supernet.network_fit import FittedNetworks

PROXYLESS = ProxylessNAS(num_labels=5, base_widths=(8, 8, 8, 16, 16, 16, 24, 24, 32))
MOBILENET = MobileNetV3Space(num_labels=5, base_widths=(8, 8, 8, 8, 16, 16, 16, 24, 32), width_multipliers=(0.5, 1.0))


def whole_of(space: HubSpace, seed: int = 0) -> tuple[ElasticSupernet, FittedNetworks]:
    """A network of random weights whose batch norms know its images, with the largest arch, and those images."""
    torch.manual_seed(seed)
    arch = space.arch_from(lambda choice: max(choice.candidates, key=_size))
    network = space.freeze(arch)
    images = torch.randn(48, 3, 32, 32)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        network(images)
    supernet = ElasticSupernet(ElasticSpace.of(space, arch), network.state_dict())
    return supernet, FittedNetworks(supernet, images)


def _size(candidate: object) -> tuple[float, ...]:
    if isinstance(candidate, str):
        return (float(candidate == "se"), *(float(digit) for digit in candidate if digit.isdigit()))
    return (float(candidate),)  # type: ignore[arg-type]


@pytest.mark.parametrize("space", [PROXYLESS, MOBILENET], ids=lambda space: type(space).__name__)
class TestBothSpaces:
    def test_the_whole_network_is_left_as_it_is(self, space):
        supernet, fitted = whole_of(space)
        x = torch.randn(4, 3, 32, 32)
        largest = supernet.space.largest
        assert fitted.error(largest) == 0
        with torch.no_grad():
            torch.testing.assert_close(fitted.network(largest)(x), supernet.network.eval()(x))

    @pytest.mark.slow
    def test_every_arch_can_be_fitted_and_its_features_come_nearer(self, space):
        supernet, fitted = whole_of(space)
        x, rng = fitted.images, Random(1)
        ratios = []
        for _ in range(4):
            arch = supernet.space.random(rng)
            network = fitted.network(arch)
            space.freeze(arch).load_state_dict(network.state_dict())
            assert not network.training
            assert fitted.error(arch) > 0
            with torch.no_grad():
                right = supernet.network.eval()(x)
                errors = [float((found(x) - right).square().mean()) for found in (network, supernet.extract(arch))]
            ratios.append(errors[0] / errors[1])
        assert sum(ratios) / len(ratios) < 0.7

    def test_smaller_networks_have_larger_errors(self, space):
        supernet, fitted = whole_of(space)
        rng = Random(2)
        smallest = fitted.error(supernet.space.smallest)
        assert all(fitted.error(supernet.space.random(rng)) <= smallest * 1.001 for _ in range(6))

    def test_errors_of_late_blocks_count_more(self, space, monkeypatch):
        supernet, fitted = whole_of(space)
        largest, smallest = supernet.space.largest, supernet.space.smallest
        labels = [label for label in largest if label in {f"s{i}_i0{end}" for i in (2, 3, 4, 5) for end in ("", "_exp")}]
        cuts = [{**largest, label: smallest[label]} for label in labels]
        errors = [fitted.error(cut) for cut in cuts]
        monkeypatch.setattr(network_fit, "FIRST_WEIGHT", 1.0)
        weights = [error / fitted.error(cut) for error, cut in zip(errors, cuts, strict=True)]
        assert weights == sorted(weights)
        assert len(weights) == 4
        assert 0.25 < weights[0] < 0.5 < weights[-1] < 1


def blocks(kernel: int, hidden: int) -> tuple[MobileBlock, MobileBlock, torch.Tensor, torch.Tensor]:
    """A block, a smaller one, inputs of the first one and its outputs."""
    torch.manual_seed(0)
    whole = next(m for m in PROXYLESS.freeze(_arch("k5e6")).modules() if _is_residual(m))
    small = next(m for m in PROXYLESS.freeze(_arch(f"k{kernel}e{hidden}")).modules() if _is_residual(m))
    x = torch.randn(32, 16, 8, 8)
    whole.train()
    with torch.no_grad():
        whole(x)
        whole.eval()
        return whole, small.eval(), x, whole(x)


def _arch(operation: str) -> dict[str, object]:
    labels = {f"s{s}_i{i}": operation for s in range(2, 7) for i in range(2)} | {"s7_i0": operation}
    return labels | {f"s{s}_depth": 2 for s in range(2, 7)}


def _is_residual(module: nn.Module) -> bool:
    return isinstance(module, MobileBlock) and module.residual and module[0].in_channels == 16


@torch.no_grad()
@pytest.mark.parametrize(("kernel", "hidden"), [(5, 3), (3, 6), (3, 3)])
def test_the_error_is_what_is_left_and_training_mode_computes_the_same(kernel, hidden):
    whole, small, x, y = blocks(kernel, hidden)
    told = block_error(whole, small, x, y)
    fit_block(whole, small, x, y)
    found = small(x)
    assert float((found - y).square().mean((0, 2, 3)).sum() / y.var((0, 2, 3)).sum()) == pytest.approx(told, rel=0.05)
    last = small[-1].train()
    hidden_maps = nn.Sequential(*list(small)[:-2])(x)
    torch.testing.assert_close(last(small[-2](hidden_maps)) + x, found, rtol=1e-2, atol=1e-2)


def test_middle_of_kernels():
    kernels = torch.arange(25.0).reshape(1, 1, 5, 5)
    assert middle(kernels, 3).flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert torch.equal(middle(kernels, 5), kernels)
