"""Torch's layers, constructed several times faster than by torch, since a search builds many networks.

`bare` does not initialise weights, for networks that do so in the way of their paper. The others initialise as torch does:
norms with 1 and 0, weights and biases uniformly in (-1 / sqrt(fan in), 1 / sqrt(fan in)).
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, TypeVar

import torch
from torch import nn

from hubserve.blocks.fast_init import init_uniform

Layer = TypeVar("Layer", bound=nn.Module)
WithWeight = TypeVar("WithWeight", nn.Conv2d, nn.Linear)

_NOTHING: Mapping[str, float] = {}


def bare(kind: type[Layer], *args: Any, fill: Mapping[str, float] = _NOTHING, **settings: Any) -> Layer:
    """The layer `kind(*args, **settings)`, with parameters and buffers that are allocated but not initialised.

    It takes a third of the time of torch's constructor, which runs once for the same arguments, on the meta device; each
    further layer is a copy of that layer, with tensors of its own. The layer must have no submodules.

    >>> bare(nn.Conv2d, 3, 8, 3, padding=1).weight.shape
    torch.Size([8, 3, 3, 3])

    Args:
        kind: Class of the layer.
        *args: Positional arguments of the layer.
        fill: Name of a parameter or buffer -> value of all its elements.
        **settings: Keyword arguments of the layer.

    Raises:
        Exception: The error of the layer's own constructor.
    """
    pattern = _pattern(kind, args, tuple(settings.items()), torch.get_default_dtype())  # type: ignore[arg-type]
    layer = kind.__new__(kind)
    own = layer.__dict__
    for name, value in pattern.__dict__.items():
        own[name] = value.copy() if isinstance(value, (dict, list, set)) else value
    for name, parameter in pattern._parameters.items():
        if parameter is not None:
            own["_parameters"][name] = nn.Parameter(_tensor(parameter, fill.get(name)))
    for name, buffer in pattern._buffers.items():
        if buffer is not None:
            own["_buffers"][name] = _tensor(buffer, fill.get(name))
    return layer


def conv2d(c_in: int, c_out: int, kernel: int | tuple[int, int], **settings: Any) -> nn.Conv2d:
    """`torch.nn.Conv2d` with the same arguments."""
    return _torch_default(bare(nn.Conv2d, c_in, c_out, kernel, **settings))


def linear(n_in: int, n_out: int, *, bias: bool = True) -> nn.Linear:
    """`torch.nn.Linear` with the same arguments."""
    return _torch_default(bare(nn.Linear, n_in, n_out, bias=bias))


def layer_norm(dim: int) -> nn.LayerNorm:
    """`torch.nn.LayerNorm` over the last `dim` values."""
    return bare(nn.LayerNorm, dim, fill={"weight": 1, "bias": 0})


def batch_norm(channels: int, *, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> nn.BatchNorm2d:
    """`torch.nn.BatchNorm2d` with the same arguments."""
    return bare(nn.BatchNorm2d, channels, eps=eps, momentum=momentum, affine=affine, fill=_FRESH_BATCH_NORM)


_FRESH_BATCH_NORM = {"weight": 1, "bias": 0, "running_mean": 0, "running_var": 1, "num_batches_tracked": 0}


def _torch_default(layer: WithWeight) -> WithWeight:
    weight, bias = layer.weight, layer.bias
    bound = (weight.numel() // len(weight)) ** -0.5
    init_uniform(weight, bound=bound)
    if bias is not None:
        init_uniform(bias, bound=bound)
    return layer


def _tensor(like: torch.Tensor, value: float | None) -> torch.Tensor:
    tensor = torch.empty(like.shape, dtype=like.dtype)
    return tensor if value is None or tensor.is_meta else tensor.fill_(value)


@lru_cache(maxsize=4096)  # A search has thousands of widths.
def _pattern(kind: type[nn.Module], args: tuple[Any, ...], settings: tuple[tuple[str, Any], ...], _: torch.dtype) -> nn.Module:
    return _without_values(kind)(*args, **dict(settings), device="meta")  # type: ignore[arg-type]


@cache
def _without_values(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})
