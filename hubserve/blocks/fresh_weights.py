"""Fresh weights, fast: with torch's own initialisers a network of convolutions spends most of its building time in them.

The numbers come from torch's generator of the weight's device. Each is one of 65,536 equally likely values, so that 64 random
bits make four of them.
"""

from __future__ import annotations

from functools import cache

import torch

_VALUES = 1 << 16


def init_truncated_normal(weight: torch.Tensor, *, std: float) -> None:
    """Fills `weight` from N(0, std), cut off at two `std` on both sides."""
    if weight.is_meta:
        return
    places = _random_int16(weight).int().add_(_VALUES // 2)
    with torch.no_grad():
        torch.index_select(_quantiles().to(weight.device, weight.dtype), 0, places, out=weight.view(-1))
        weight.mul_(std)


def init_uniform(weight: torch.Tensor, *, bound: float) -> None:
    """Fills `weight` evenly from (-bound, bound)."""
    if weight.is_meta:
        return
    with torch.no_grad():
        weight.view(-1).copy_(_random_int16(weight))
        weight.add_(0.5).mul_(2 * bound / _VALUES)


def _random_int16(weight: torch.Tensor) -> torch.Tensor:
    """As many numbers as `weight` has, each of all 65,536."""
    bits = torch.empty(-(-weight.numel() // 4), dtype=torch.int64, device=weight.device).random_(-(1 << 63), None)
    return bits.view(torch.int16)[: weight.numel()]


@cache
def _quantiles() -> torch.Tensor:
    """The middles of 65,536 equally likely slices of N(0, 1), cut off at 2."""
    # Asked for while a space is read on the meta device, the table must still hold numbers.
    with torch.device("cpu"):
        probabilities = (torch.arange(_VALUES, dtype=torch.float64) + 0.5) / _VALUES
        inside = torch.erf(torch.tensor(2**0.5, dtype=torch.float64))
    return (torch.erfinv((2 * probabilities - 1) * inside) * 2**0.5).float()
