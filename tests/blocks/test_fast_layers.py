"""Torch's layers made another way: they must be what torch would have made."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from hubserve.blocks.conv import SameConv2d
from hubserve.blocks.fast_layers import bare, batch_norm, conv2d, layer_norm, linear

PAIRS = {
    "conv": (lambda: conv2d(4, 6, 3, stride=2, padding=1, groups=2), lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)),
    "crossed conv": (
        lambda: conv2d(4, 6, (1, 7), padding=(0, 3), bias=False),
        lambda: nn.Conv2d(4, 6, (1, 7), padding=(0, 3), bias=False),
    ),
    "dilated conv": (lambda: conv2d(4, 4, 5, dilation=2, padding=4), lambda: nn.Conv2d(4, 4, 5, dilation=2, padding=4)),
    "linear": (lambda: linear(4, 6), lambda: nn.Linear(4, 6)),
    "linear without bias": (lambda: linear(4, 6, bias=False), lambda: nn.Linear(4, 6, bias=False)),
    "layer norm": (lambda: layer_norm(4), lambda: nn.LayerNorm(4)),
    "batch norm": (lambda: batch_norm(4, eps=1e-3, momentum=0.2), lambda: nn.BatchNorm2d(4, eps=1e-3, momentum=0.2)),
    "bare batch norm": (lambda: batch_norm(4, affine=False), lambda: nn.BatchNorm2d(4, affine=False)),
    "bare conv": (lambda: bare(SameConv2d, 4, 6, 3, stride=2), lambda: SameConv2d(4, 6, 3, stride=2)),
}


def settings(layer: nn.Module) -> dict[str, object]:
    """All that a layer knows of itself but the values of its tensors."""
    tensors = {"_parameters", "_buffers"}
    return {name: value for name, value in vars(layer).items() if name not in tensors}


@pytest.fixture(params=PAIRS)
def pair(request):
    ours, torchs = PAIRS[request.param]
    return ours, torchs()


def test_a_layer_is_what_torch_makes(pair):
    make, torchs = pair
    layer = make()
    assert type(layer) is type(torchs)
    assert settings(layer) == settings(torchs)
    assert repr(layer) == repr(torchs)
    assert {k: (v.shape, v.dtype) for k, v in layer.state_dict().items()} == {
        k: (v.shape, v.dtype) for k, v in torchs.state_dict().items()
    }
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == [name for name, _ in torchs.named_parameters()]
    assert list(layer._parameters) == list(torchs._parameters)


def test_two_layers_share_nothing_that_can_change(pair):
    make, _ = pair
    first, second = make(), make()
    for name, value in vars(first).items():
        if isinstance(value, (dict, list, set)):
            assert vars(second)[name] is not value, name
    places = [{t.data_ptr() for t in layer.state_dict(keep_vars=True).values()} for layer in (first, second)]
    assert not places[0] & places[1]


def test_a_layer_can_be_copied_pickled_and_moved(pair):
    layer = pair[0]()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), pair[0]().to("meta"), pair[0]().double()):
        assert type(other) is type(layer)
        assert list(other.state_dict()) == list(layer.state_dict())


def test_the_default_dtype_counts(pair):
    make, torchs = pair
    make()
    torch.set_default_dtype(torch.float64)
    try:
        found = {tensor.dtype for tensor in make().state_dict().values()}
    finally:
        torch.set_default_dtype(torch.float32)
    assert found == {t.double().dtype if t.is_floating_point() else t.dtype for t in torchs.state_dict().values()}


def test_the_device_of_the_context_counts(pair):
    with torch.device("meta"):
        assert all(tensor.is_meta for tensor in pair[0]().state_dict().values())


@pytest.mark.parametrize("name", ["conv", "linear"])
def test_first_weights_are_torchs(name):
    torch.manual_seed(0)
    layer = conv2d(32, 128, 3, groups=2) if name == "conv" else linear(144, 128)
    bound = 144**-0.5
    for tensor in layer.state_dict().values():
        assert tensor.abs().max() <= bound
        assert tensor.abs().max() > 0.9 * bound
        assert tensor.std() == pytest.approx(bound / 3**0.5, rel=0.15)


@pytest.mark.parametrize("name", ["layer norm", "batch norm"])
def test_norms_start_at_one_and_zero(name):
    ours, torchs = PAIRS[name]
    for tensor, expected in zip(ours().state_dict().values(), torchs().state_dict().values(), strict=True):
        assert torch.equal(tensor, expected)


def test_a_bare_layer_draws_no_random_numbers():
    before = torch.get_rng_state()
    bare(nn.Linear, 8, 8)
    bare(nn.Conv2d, 8, 8, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_mistakes_are_torchs():
    with pytest.raises(ValueError, match="divisible by groups"):
        bare(nn.Conv2d, 3, 8, 3, groups=2)
