"""Parameters and multiply-accumulates of any torch module, counted on the operations that really run."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class UncountedOperationWarning(UserWarning):
    """An operation ran for which we have neither a formula nor the knowledge that it is free."""


@dataclass(frozen=True)
class Complexity:
    """Size and work of a network for one picture.

    A multiply-accumulate (MAC) is one multiplication with its addition; FLOPs of the literature are this number or twice it.
    Biases, norms, activations, pooling and element-wise operations count as 0, as in the published figures of mobile networks.

    Attributes:
        params: elements of all parameters; buffers are not counted.
        conv_macs: of convolutions.
        linear_macs: of matrix products with a weight.
        attention_macs: of products between activations; papers differ on whether they count them.
        uncounted: name -> calls of operations that are in none of the numbers though they may cost something.
    """

    params: int
    conv_macs: int
    linear_macs: int
    attention_macs: int
    uncounted: dict[str, int]

    @property
    def macs(self) -> int:
        """Convolutions and linear layers."""
        return self.conv_macs + self.linear_macs


def complexity(model: nn.Module, input_shape: tuple[int, ...]) -> Complexity:
    """Counts `model` on one picture of `input_shape` (channels, height, width); computes nothing, on the meta device.

    Warns with UncountedOperationWarning, never counts silently as zero, when it meets an operation it does not know.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    counter = _MacCounter()
    with torch.no_grad(), counter:
        shadow(torch.empty(1, *input_shape, device="meta"))
    if counter.unknown:
        warnings.warn(
            f"MACs leave out {', '.join(sorted(counter.unknown))}: no formula is known for them",
            UncountedOperationWarning,
            stacklevel=2,
        )
    return Complexity(
        params=sum(p.numel() for p in model.parameters()),
        conv_macs=counter.macs["conv"],
        linear_macs=counter.macs["linear"],
        attention_macs=counter.macs["attention"],
        uncounted=dict(counter.unknown),
    )


def _conv(args: tuple[Any, ...], out: torch.Tensor) -> int:
    weight, transposed = args[1], args[6]
    # Each weight element meets each output position once; a transposed convolution, each input position.
    positions = args[0] if transposed else out
    return int(weight.numel()) * prod(positions.shape[2:]) * int(out.shape[0])


def _matrix_product(first: int) -> Callable[[tuple[Any, ...], torch.Tensor], int]:
    """Output elements times the length of the inner axis; `first` is the index of the left factor."""
    return lambda args, out: out.numel() * int(args[first].shape[-1])


def _attention(args: tuple[Any, ...], _: Any) -> int:
    query, key, value = args[:3]
    scores = prod(query.shape[:-1]) * key.shape[-2]
    return int(scores * (query.shape[-1] + value.shape[-1]))


FORMULAS: dict[Any, tuple[str, Callable[[tuple[Any, ...], Any], int]]] = {
    aten.convolution: ("conv", _conv),
    aten.mm: ("linear", _matrix_product(0)),
    aten.addmm: ("linear", _matrix_product(1)),
    aten.bmm: ("attention", _matrix_product(0)),
    aten.baddbmm: ("attention", _matrix_product(1)),
    aten.scaled_dot_product_attention: ("attention", _attention),
    aten._scaled_dot_product_flash_attention_for_cpu: ("attention", _attention),
    aten._scaled_dot_product_fused_attention_overrideable: ("attention", _attention),
}
"""Operation -> (which number, formula)."""

# fmt: off
FREE = frozenset(
    {
        "_adaptive_avg_pool2d", "_log_softmax", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
        "_safe_softmax", "_softmax", "_to_copy", "_unsafe_view", "adaptive_avg_pool2d", "all", "amax", "amin", "any",
        "arange", "avg_pool2d", "bernoulli", "cat", "clone", "constant_pad_nd", "copy", "embedding", "empty", "empty_like",
        "flip", "full", "full_like", "gather", "hardswish", "index", "index_select", "lift_fresh",
        "max_pool2d_with_indices", "mean", "native_batch_norm", "native_dropout", "native_group_norm", "native_layer_norm",
        "new_empty", "new_ones", "new_zeros", "ones", "ones_like", "pad", "rand", "rand_like", "repeat", "roll",
        "scalar_tensor", "stack", "sum", "zeros", "zeros_like",
    }
)
# fmt: on
"""Operations that move, normalise, pool or create; like element-wise ones they count as 0 by definition."""


class _MacCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation in FORMULAS:
            kind, formula = FORMULAS[operation]
            self.macs[kind] += formula(args, out)
        elif not _is_free(func):
            self.unknown[str(operation)] += 1
        return out


def _is_free(func: Any) -> bool:
    """Views, element-wise operations, and those of FREE; an in-place operation `name_` is judged as `name`."""
    name = func.overloadpacket.__name__.removesuffix("_")
    return name in FREE or func.is_view or torch.Tag.pointwise in func.tags
