"""Supernets that begin as the weights of a trained model, on small networks with random weights."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hubserve.errors import ArchError, SpaceError
from hubserve.hub.registry import get_space
from hubserve.supernet import recalibrate_batch_norm
from hubserve.supernet.channel_groups import channel_groups, importance, sort_channels
from hubserve.supernet.elastic_space import ElasticSpace
from hubserve.supernet.elastic_supernet import ElasticSupernet
from hubserve.supernet.shared_tensors import window
from hubserve.training.seeding import seeded

PROXYLESS = {"base_widths": (8, 8, 8, 8, 16, 16, 16, 16, 32), "num_labels": 5}
MOBILE = {
    "base_widths": (8, 8, 16, 16, 16, 24, 24, 32, 32),
    "num_labels": 5,
    "width_multipliers": (0.5, 1.0),
    "expand_ratios": (1.0, 2.0, 3.0),
}
FULL = {
    "ProxylessNAS": lambda label: 3 if label.endswith("depth") else "k5e6",
    "MobileNetV3Space": lambda label: {"depth": 2, "ks": 5, "exp": 3.0, "mult": 1.0, "se": "se"}[label.rpartition("_")[2]],
}


@pytest.fixture(scope="module", params=["ProxylessNAS", "MobileNetV3Space"])
def trained(request):
    """An elastic space, and a network of its largest arch in float64, as after a training."""
    inner = get_space(request.param, PROXYLESS if request.param == "ProxylessNAS" else MOBILE)
    space = ElasticSpace.of(inner, inner.arch_from(lambda choice: FULL[request.param](choice.label)))
    with seeded(1):
        network = inner.freeze(space.largest).double()
        for tensor in network.parameters():
            if tensor.dim() == 1:
                tensor.data.uniform_(0.5, 1.5)
        recalibrate_batch_norm(network, [(torch.randn(16, 3, 32, 32).double(), None)])
    return space, network.eval()


@pytest.fixture(scope="module")
def images():
    with seeded(2):
        return torch.randn(4, 3, 32, 32).double()


@torch.no_grad()
def test_before_training_the_largest_network_is_the_model(trained, images):
    space, network = trained
    supernet = ElasticSupernet(space, network.state_dict())
    for found in (supernet.network.eval(), supernet.extract(space.largest)):
        torch.testing.assert_close(found(images), network(images), rtol=1e-12, atol=1e-12)
    unsorted = ElasticSupernet(space, network.state_dict(), sort=False)
    assert torch.equal(unsorted.network.eval()(images), network(images))
    assert all(torch.equal(tensor, network.state_dict()[name]) for name, tensor in unsorted.network.state_dict().items())


@torch.no_grad()
def test_sorted_channels_give_the_same_logits_and_fall_in_importance(trained, images):
    space, network = trained
    changed = space.inner.freeze(space.largest).double().eval()
    changed.load_state_dict(network.state_dict())
    sort_channels(changed)
    torch.testing.assert_close(changed(images), network(images), rtol=1e-12, atol=1e-12)
    state = network.state_dict()
    same = [name for name, tensor in changed.state_dict().items() if torch.equal(tensor, state[name])]
    assert [name for name in same if "num_batches" not in name] == [
        "classifier.1.bias" if "classifier.1.bias" in state else "classifier.bias"
    ]
    groups = channel_groups(changed)
    for group in groups:
        found = importance(group, changed.state_dict())
        assert (found[:-1] >= found[1:] - 1e-12).all()
    # Each axis of channels is of one group, but for the image's and the logits'.
    axes = [axis for group in groups for axis in group.axes]
    assert len(axes) == len(set(axes))


def test_a_small_network_has_the_middle_of_kernels_the_first_channels_and_the_front_of_stages(trained):
    space, network = trained
    supernet = ElasticSupernet(space, network.state_dict(), sort=False)
    small = supernet.extract(space.smallest)
    whole = network.state_dict()
    compared = 0
    for name, tensor in small.state_dict().items():
        if name in whole and tensor.dim() == whole[name].dim():
            assert torch.equal(tensor, window(whole[name], tensor.shape, centred=tensor.dim() == 4))
            compared += tensor.dim() == 4 and tensor.shape[-1] < whole[name].shape[-1]
    assert compared  # Some kernel became smaller.
    assert set(small.state_dict()) <= set(whole)  # The first blocks of each stage, under the same names.
    assert len(small.state_dict()) < len(whole)


def test_the_space_has_no_larger_arch_and_all_smaller_ones(trained):
    space, _ = trained

    def sizes(arch):
        return {
            label: (int(v[1]), int(v[3])) if isinstance(v, str) and v.startswith("k") else (v,) for label, v in arch.items()
        }

    largest, rng = sizes(space.largest), Random(0)
    for _ in range(200):
        arch = space.random(rng)
        space.inner.validate(arch)
        for label, size in sizes(arch).items():
            assert size == largest[label] or all(a <= b for a, b in zip(size, largest[label], strict=True))
        space.validate(space.mutate(arch, rng))
    assert space.smallest == space.canonical(space.smallest)
    assert 1 < space.count() < space.inner.count()
    with pytest.raises(ArchError):
        space.validate({**space.largest, next(label for label in space.largest if label.endswith("depth")): 4})


def test_a_squeeze_and_excite_stays():
    inner = get_space("MobileNetV3Space", MOBILE)
    start = inner.arch_from(lambda choice: FULL["MobileNetV3Space"](choice.label))
    space = ElasticSpace.of(inner, start)
    assert {value for label, value in space.smallest.items() if label.endswith("_se")} == {"se"}
    assert space.choices["s2_i0_se"].candidates == ("se",)


@pytest.mark.parametrize("name", ["ShuffleNetSpace", "NasBench201", "DARTS"])
def test_other_spaces_name_those_that_work(name):
    inner = get_space(name)
    with pytest.raises(SpaceError, match=f"networks of {name} cannot be cut .* MobileNetV3Space, ProxylessNAS"):
        ElasticSpace.of(inner, inner.random(Random(0)))


def test_the_weights_of_a_network_are_views_of_the_shared_ones(trained):
    space, network = trained
    supernet = ElasticSupernet(space, network.state_dict())
    arch = space.random(Random(3))
    with torch.no_grad():
        for parameter in supernet.network.parameters():
            parameter.mul_(2)
    state = supernet.extract(arch).state_dict()
    for name, tensor in supernet.subnet(arch).network.state_dict().items():
        assert torch.equal(tensor, state[name])
