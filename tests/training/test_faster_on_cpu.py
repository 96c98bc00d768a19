"""On the CPU, gradients of wide depthwise convolutions are computed in another way, and freed memory is kept for a while."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from hubserve.service.loaded_model import resident_bytes
from hubserve.training import depthwise_gradients
from hubserve.training import kept_memory as kept_memory_module
from hubserve.training.depthwise_gradients import faster_depthwise_gradients
from hubserve.training.faster_on_cpu import faster_on_cpu, faster_scoring_on_cpu
from hubserve.training.kept_memory import kept_memory

is_replaced = torch.backends.mkldnn.is_available() and "AVX" in torch.backends.cpu.get_cpu_capability()


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    """Layers of any size have their gradients computed in parts, and a batch in several of them."""
    for limit, value in (("FEWEST_CHANNELS", 1), ("FEWEST_OUTPUTS", 1), ("NUMBERS", 700)):
        monkeypatch.setattr(depthwise_gradients, limit, value)


def gradients(layer, x, context):
    """Output, and gradients of the input and of the parameters."""
    layer.zero_grad()
    x = x.clone().requires_grad_()
    with context:
        output = layer(x)
    (output * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return output, x.grad, *(parameter.grad.clone() for parameter in layer.parameters())


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("size", [(16, 16), (9, 13), (3, 3), (2, 5)])
@pytest.mark.parametrize(("stride", "bias"), [(1, False), (2, True)])
@pytest.mark.parametrize(("kernel", "padding"), [(5, 2), (7, 3), (4, 1), ((1, 7), (0, 3)), ((5, 4), (4, 0)), (11, 5)])
def test_gradients_are_those_of_pytorch(kernel, padding, stride, bias, size, memory_format):
    torch.manual_seed(0)
    layer = nn.Conv2d(12, 12, kernel, stride, padding, groups=12, bias=bias).to(memory_format=memory_format)
    x = torch.randn(5, 12, *size).to(memory_format=memory_format)
    if any(n + 2 * p < k for n, p, k in zip(size, layer.padding, layer.kernel_size, strict=True)):
        pytest.skip("the kernel is larger than the padded image")
    found = gradients(layer, x, faster_depthwise_gradients(layer))
    for ours, theirs in zip(found, gradients(layer, x, nullcontext()), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    if size[1] > layer.kernel_size[1]:
        assert (found[0].grad_fn.name() == "_WideDepthwiseBackward") == is_replaced


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 5, groups=4),
        nn.Conv2d(8, 16, 5, groups=8),
        nn.Conv2d(8, 8, 5, groups=8, dilation=2),
        nn.Conv2d(8, 8, 5, groups=8, stride=3),
        nn.Conv2d(8, 8, 5, groups=8, padding="same"),
        nn.Conv2d(8, 8, 5, groups=8).double(),
        nn.Conv2d(8, 8, 5, groups=8).requires_grad_(False),
    ],
)
def test_other_convolutions_are_left_to_pytorch(layer):
    x = torch.randn(2, 8, 12, 12, dtype=layer.weight.dtype, requires_grad=True)
    with faster_depthwise_gradients(layer), faster_depthwise_gradients(nn.Conv2d(8, 8, 5, groups=8)):
        assert "Wide" not in layer(x).grad_fn.name()


def test_without_gradients_and_under_autocast_pytorch_computes():
    layer, x = nn.Conv2d(8, 8, 5, groups=8), torch.randn(2, 8, 12, 12)
    with faster_depthwise_gradients(layer):
        with torch.no_grad():
            assert layer(x).grad_fn is None
        with torch.autocast("cpu", torch.bfloat16):
            output = layer(x)
    assert output.dtype == torch.bfloat16
    assert "Wide" not in output.grad_fn.name()


def test_second_gradients_are_those_of_pytorch():
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 4, 5, padding=2, groups=4), torch.randn(2, 4, 8, 8, requires_grad=True)
    found = []
    for context in (faster_depthwise_gradients(layer), nullcontext()):
        with context:
            (first,) = torch.autograd.grad(layer(x).square().sum(), layer.weight, create_graph=True)
            found.append(torch.autograd.grad(first.square().sum(), (x, layer.weight)))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3)


@pytest.mark.skipif(not is_replaced, reason="the gradients are left to PyTorch on this CPU")
def test_a_network_elsewhere_is_left_alone():
    layer, other = nn.Conv2d(8, 8, 5, groups=8), nn.Conv2d(8, 8, 5, groups=8, device="meta")
    for network, name in ((layer, "_WideDepthwiseBackward"), (other, "ConvolutionBackward0")):
        with faster_on_cpu(network):
            assert layer(torch.randn(1, 8, 12, 12)).grad_fn.name() == name


@pytest.mark.skipif(not is_replaced, reason="the gradients are left to PyTorch on this CPU")
def test_small_layers_are_left_to_pytorch(monkeypatch):
    wide, narrow = (nn.Conv2d(n, n, 5, padding=2, groups=n) for n in (48, 8))
    monkeypatch.undo()
    for network, layer, size, is_wide in (
        (wide, wide, 40, True),
        (wide, wide, 36, False),
        (wide, narrow, 96, True),
        (narrow, wide, 40, False),
    ):
        with faster_depthwise_gradients(network):
            name = layer(torch.randn(1, layer.in_channels, size, size)).grad_fn.name()
        assert ("Wide" in name) == is_wide


def resident_after_use():
    """Bytes of this process after it used and freed 256 MB."""
    for _ in range(3):
        tensors = [torch.ones(2**20) for _ in range(64)]
        del tensors
    return resident_bytes()


def test_memory_is_given_back_after_the_last_of_several_contexts():
    cpu = torch.device("cpu")
    with kept_memory(cpu):
        with kept_memory(cpu):
            resident_after_use()
        during = resident_after_use()
    assert during - resident_bytes() > 200 * 2**20


def test_memory_is_not_kept_for_a_network_elsewhere(monkeypatch):
    counted = []
    monkeypatch.setattr(kept_memory_module, "_count", lambda library, change: counted.append(change))
    for device in ("meta", "cpu"):
        with kept_memory(torch.device(device)):
            assert counted == {"meta": [], "cpu": [1]}[device]
    assert counted == [1, -1]


@pytest.mark.parametrize(("channels_last", "within"), [(True, torch.channels_last), (False, torch.contiguous_format)])
def test_a_network_scores_in_the_format_in_which_it_is_trained(channels_last, within):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 5, groups=8)).eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        before = network(x)
        with faster_scoring_on_cpu(network, channels_last=channels_last):
            found = network(x)
            assert network[0].weight.is_contiguous(memory_format=within)
    assert torch.allclose(before, found, atol=1e-5)
    assert network[0].weight.is_contiguous()
