"""Networks on windows of shared weights, over every space and over spaces of one's own."""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from random import Random

import pytest
import torch
from torch import nn

from hubserve.errors import ArchError, SupernetError
from hubserve.space import ModelSpace
from hubserve.supernet import SharedOptimizer, Supernet
from hubserve.supernet.shared_tensors import window
from tests.marks import slow_but
from tests.supernet.spaces import CHANNELS, TINY, Small, images

SPACES = {**TINY, "ShuffleNetSpace-channels": CHANNELS, "Small": Small()}
QUICK = {"Small", "NasBench201", "ProxylessNAS", "AutoFormer", "ShuffleNetSpace-channels"}
"""One of each kind of choice: of layers, on edges, of numbers, of widths."""


@pytest.fixture(scope="module")
def supernets():
    """Each space's supernet, built when first asked for."""
    built: dict[str, Supernet] = {}

    def get(name: str) -> Supernet:
        if name not in built:
            built[name] = Supernet(SPACES[name])
        return built[name].eval()

    return get


@pytest.mark.parametrize("name", slow_but(SPACES, QUICK))
class TestEverySpace:
    def test_a_subnet_is_the_extracted_network(self, supernets, name):
        net, rng = supernets(name), Random(3)
        x = images()
        for _ in range(3):
            arch = SPACES[name].random(rng)
            with torch.no_grad():
                net.train()(x, arch)  # Statistics of norms, which start equal everywhere, are now this arch's.
                net.eval()
                model = net.extract(arch)
                expected = model(x)
                assert torch.equal(net(x, arch), expected)
                assert torch.equal(net.subnet(arch).network(x), expected)
            assert model.state_dict().keys() == SPACES[name].freeze(arch).state_dict().keys()
            assert not any(tensor.is_meta for tensor in model.state_dict().values())

    def test_a_subnet_has_no_memory_of_its_own(self, supernets, name):
        net = supernets(name)
        subnet = net.subnet(SPACES[name].random(Random(4)))
        for tensor in subnet.tensors:
            assert tensor.value.untyped_storage().data_ptr() == net.tensors[tensor.key].untyped_storage().data_ptr()

    def test_gradients_arrive_in_the_windows_and_nowhere_else(self, supernets, name):
        net = supernets(name).train()
        arch = SPACES[name].random(Random(5))
        net.zero_grad()
        output = net(images(), arch)
        output.square().sum().backward()
        seen = {tensor.key: tensor for tensor in net.subnet(arch).tensors if not tensor.is_buffer}
        for key, parameter in net.tensors.named_parameters():
            if key not in seen:
                assert parameter.grad is None
            elif parameter.grad is not None:
                outside = parameter.grad.clone()
                window(outside, seen[key].shape, centred=seen[key].centred).zero_()
                assert not outside.any()

    def test_leaves_have_the_same_gradients(self, supernets, name):
        net = supernets(name).train()
        arch = SPACES[name].random(Random(6))
        net.zero_grad()
        torch.manual_seed(0)
        net(images(), arch).square().sum().backward()
        whole = {key: p.grad.clone() for key, p in net.tensors.named_parameters() if p.grad is not None}
        net.zero_grad()
        subnet = net.subnet(arch)
        torch.manual_seed(0)
        subnet.network(images()).square().sum().backward()
        for tensor in subnet.tensors:
            if not tensor.is_buffer and tensor.value.grad is not None:
                expected = window(whole[tensor.key], tensor.shape, centred=tensor.centred)
                assert torch.allclose(tensor.value.grad, expected, rtol=1e-4, atol=1e-6)
                tensor.value.grad = None

    def test_random_archs_need_no_more_room(self, supernets, name):
        if name == "NasBench101":
            pytest.skip("how many channels a vertex has, its graph decides: see TestGrowth")
        net, rng = supernets(name), Random(7)
        version = net.version
        for _ in range(10):
            net.subnet(SPACES[name].random(rng))
        assert net.version == version


class TestKeys:
    def test_candidates_of_a_layer_choice_share_nothing(self):
        net = Supernet(TINY["NasBench201"])
        arch = TINY["NasBench201"].random(Random(0))
        small, large = (net.subnet({**arch, "cell/0_1": op}).leaves.keys() for op in ("conv_1x1", "conv_3x3"))
        assert any("cell/0_1=conv_1x1" in key for key in small)
        assert not any("cell/0_1=conv_1x1" in key for key in large)

    def test_a_smaller_kernel_is_the_middle_of_the_largest(self):
        space = TINY["MobileNetV3Space"]
        net, arch = Supernet(space), space.random(Random(0))
        of_three = {s.key: s.value for s in net.subnet({**arch, "s0_i0_ks": 3}).tensors}
        of_seven = {s.key: s.value for s in net.subnet({**arch, "s0_i0_ks": 7}).tensors}
        depthwise = [key for key, tensor in of_seven.items() if tensor.shape[2:] == (7, 7) and of_three[key].shape[2] == 3]
        assert len(depthwise) == 1
        assert torch.equal(of_seven[depthwise[0]][:, :, 2:5, 2:5], of_three[depthwise[0]])

    def test_what_follows_an_optional_layer_keeps_its_key(self):
        space = TINY["MobileNetV3Space"]
        net, arch = Supernet(space), space.random(Random(0))
        without, with_it = (set(net.subnet({**arch, "s2_i0_se": se}).leaves) for se in ("identity", "se"))
        assert without < with_it
        assert all("SqueezeExcite" in key for key in with_it - without)

    def test_layers_on_different_inputs_have_weights_of_their_own(self):
        space = TINY["DARTS"]
        net = Supernet(space)
        arch = {**space.random(Random(0)), "normal/op_2_0": "sep_conv_3x3"}
        first, second = (set(net.subnet({**arch, "normal/input_2_0": [i]}).leaves) for i in (0, 1))
        assert any("[normal/input_2_0=0][normal/op_2_0=sep_conv_3x3]" in key for key in first - second)


@dataclass(frozen=True)
class Hidden(ModelSpace):
    """Wide only where two labels agree: archs that go through the candidates one by one do not see it."""

    def build(self, pick):
        numbers = [pick(f"n{i}", tuple(range(1, 18))) for i in range(3)]
        width = 64 if numbers == [17, 1, 17] else 8
        return nn.Sequential(nn.Conv2d(3, width, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


class TestGrowth:
    def test_an_arch_that_needs_more_room_gets_it_without_loss(self):
        net = Supernet(Hidden())
        narrow, wide = {"n0": 1, "n1": 1, "n2": 1}, {"n0": 17, "n1": 1, "n2": 17}
        before = net.extract(narrow).state_dict()
        assert net(images(), wide).shape == (2, 4)
        after = net.extract(narrow).state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)

    def test_the_optimizer_follows(self):
        net = Supernet(Hidden())
        optimizer = SharedOptimizer(net.tensors, torch.optim.SGD(net.parameters(), 0.1, momentum=0.9))
        for arch in ({"n0": 1, "n1": 1, "n2": 1}, {"n0": 17, "n1": 1, "n2": 17}, {"n0": 1, "n1": 1, "n2": 1}):
            subnet = net.subnet(arch)
            before = {key: leaf.detach().clone() for key, leaf in subnet.leaves.items()}
            subnet.network(images()).square().sum().backward()
            optimizer.step(subnet.leaves)
            now = net.subnet(arch).leaves
            assert all(not torch.equal(now[key], before[key]) for key in before)
        momentum = {tuple(p.shape): optimizer.optimizer.state[p]["momentum_buffer"].shape for p in net.tensors.parameters()}
        assert all(shape == buffer for shape, buffer in momentum.items())

    def test_growth_stays_on_the_device(self):
        # As on a GPU: what is larger in a checkpoint, and what is new, is made on the CPU.
        grown = Supernet(Hidden())
        grown.subnet({"n0": 17, "n1": 1, "n2": 17})
        net = Supernet(Hidden()).to("meta")
        net.load_state_dict(grown.state_dict())
        assert [tensor.shape for tensor in net.state_dict().values()] == [t.shape for t in grown.state_dict().values()]
        assert {tensor.device.type for tensor in net.state_dict().values()} == {"meta"}
        few = Supernet(Hidden()).to("meta")
        key = next(iter(few.tensors))
        delattr(few.tensors, key)
        few.subnet({"n0": 1, "n1": 1, "n2": 1})
        assert few.tensors[key].device.type == "meta"


@dataclass(frozen=True)
class Ranks(ModelSpace):
    def build(self, pick):
        kind = pick("kind", ("a", "b"))
        return nn.Sequential(nn.Bilinear(4, 4, 4)) if kind == "a" else nn.Sequential(Bilinear())


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))


Bilinear.__name__ = "Bilinear"


@dataclass(frozen=True)
class Table(ModelSpace):
    """A network with numbers of its builder's in it: a buffer that is no norm's."""

    def build(self, pick):
        net = nn.Sequential(nn.Linear(4, pick("width", (2, 4))))
        net.register_buffer("places", torch.arange(4), persistent=False)
        return net


class TestSpacesOfOnesOwn:
    def test_tensors_of_different_rank_are_named(self):
        with pytest.raises(SupernetError, match="Bilinear0:Bilinear/weight"):
            Supernet(Ranks())

    def test_constants_are_those_of_the_builder(self):
        net = Supernet(Table())
        assert torch.equal(net.subnet({"width": 2}).network.places, torch.arange(4))
        assert torch.equal(net.extract({"width": 4}).places, torch.arange(4))

    def test_wrong_archs_are_refused(self):
        with pytest.raises(ArchError, match="width"):
            Supernet(Table()).subnet({"width": 3})


class TestFreshWeights:
    def test_are_those_of_the_space(self):
        space = TINY["MobileNetV3Space"]
        net = Supernet(space)
        key = next(k for k, p in net.tensors.named_parameters() if "stem" in k and p.dim() == 4)
        weight = net.tensors[key]
        assert float(weight.detach().std()) == pytest.approx((2 / (25 * weight.shape[0])) ** 0.5, rel=0.2)
        norms = [p for k, p in net.tensors.named_parameters() if k.endswith("BatchNorm2d/weight")]
        assert norms
        assert all(torch.equal(p, torch.ones_like(p)) for p in norms)

    def test_repeat_with_the_seed(self):
        states = [Supernet(TINY["NasBench101"], seed=seed).state_dict() for seed in (1, 1, 2)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])

    def test_leave_the_callers_generator_alone(self):
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        Supernet(Table())
        assert torch.equal(torch.rand(1), expected)


def test_pickles_with_its_weights():
    net = Supernet(Small())
    arch = Small().random(Random(0))
    net.subnet(arch)
    copied = pickle.loads(pickle.dumps(net))
    assert torch.equal(copied(images(), arch), net(images(), arch))


class TestState:
    def test_has_the_keys_of_torch(self):
        net = Supernet(Small())
        assert net.state_dict().keys() == {f"tensors.{key}" for key in net.tensors}

    def test_loads_into_another_and_subnets_see_it(self):
        one, other = Supernet(Small(), seed=1), Supernet(Small(), seed=2)
        arch = Small().random(Random(0))
        other.subnet(arch)
        other.load_state_dict(one.state_dict())
        assert torch.equal(other.subnet(arch).network(images()), one.subnet(arch).network(images()))

    def test_a_missing_tensor_is_named(self):
        net = Supernet(Small())
        state = dict(net.state_dict())
        key, _ = state.popitem()
        with pytest.raises(RuntimeError, match=re.escape(key)):
            net.load_state_dict(state)
        assert net.load_state_dict(state, strict=False).missing_keys == [key]


def test_keeps_few_networks_ready():
    net = Supernet(Small(), cache=2)
    rng = Random(0)
    for _ in range(10):
        net.subnet(Small().random(rng))
    assert len(net._subnets) == 2


def test_moves_to_another_type():
    net = Supernet(Small()).double()
    arch = Small().random(Random(0))
    assert net(images().double(), arch).dtype == torch.float64
    assert net.subnet(arch).network(images().double()).dtype == torch.float64


def test_an_arch_is_validated_once():
    asked = []

    @dataclass(frozen=True)
    class Counting(ModelSpace):
        def build(self, pick):
            return nn.Linear(pick("a", (1, 2, 3)), pick("b", (1, 2, 3)))

        def check(self, arch):
            asked.append(arch)

    net = Supernet(Counting())
    for call in (net.subnet, net.extract):
        asked.clear()
        call({"a": 1, "b": 2})
        assert len(asked) == 1
