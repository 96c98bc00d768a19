"""Fast initialisation of weights: torch's own initialisers take most of the time in which a network is built.

Torch's generator is the source, so that `torch.manual_seed` decides every weight, but only one number is drawn for 131,072
weights. That number gives the offsets into two fixed tables of random numbers, and each weight is the sum of one number of each
table: of two normal numbers, which is normal, or of two 16-bit numbers modulo 2^16, which is uniform. Two tensors share a run
of values only where the difference of the two offsets is equal, which has a probability below 1 in 200,000.
"""

from collections.abc import Iterator
from functools import cache

import torch

_SMALL = 1 << 12
"""Number of weights below which torch's own initialisers are faster."""

_CHUNK = 1 << 17
"""Number of weights filled at a time, so that intermediate values stay in the processor's cache."""

_PLACES = 1 << 18
"""Number of offsets into a table."""

_LEVELS = 1 << 16


def init_normal(weight: torch.Tensor, *, std: float) -> None:
    """Fills `weight` with normal numbers of mean 0 and standard deviation `std`."""
    if weight.is_meta:
        return
    if _torch_is_faster(weight):
        weight.detach().normal_(0.0, std)
        return
    for part in _chunks(weight):
        first, second = _open(_normal_tables(), len(part))
        torch.add(first, second, out=part).mul_(std / 2**0.5)


def init_truncated_normal(weight: torch.Tensor, *, std: float) -> None:
    """Fills `weight` from N(0, std) truncated at two `std` on both sides; each of 65,536 values is equally likely."""
    if weight.is_meta:
        return
    if not weight.is_cpu:
        torch.nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std)
        return
    values = _truncated_quantiles() * std
    for part in _chunks(weight):
        places = _random_int16(len(part)).view(torch.uint16).int()
        part.copy_(torch.index_select(values, 0, places))


def init_uniform(weight: torch.Tensor, *, bound: float) -> None:
    """Fills `weight` uniformly from (-bound, bound); in a large weight each of 65,536 values is equally likely."""
    if weight.is_meta:
        return
    if _torch_is_faster(weight):
        weight.detach().uniform_(-bound, bound)
        return
    step = 2 * bound / _LEVELS
    half_a_step = torch.tensor(step / 2, dtype=weight.dtype, device="cpu")
    for part in _chunks(weight):
        part.copy_(_random_int16(len(part)))
        torch.add(half_a_step, part, alpha=step, out=part)


def _torch_is_faster(weight: torch.Tensor) -> bool:
    return not weight.is_cpu or weight.numel() < _SMALL


def _chunks(weight: torch.Tensor) -> Iterator[torch.Tensor]:
    flat = weight.detach().view(-1)
    return iter(torch.split(flat, _CHUNK)) if len(flat) > _CHUNK else iter((flat,))


def _random_int16(n: int) -> torch.Tensor:
    """`n` numbers (n,), each uniform over the 65,536 values of an int16."""
    first, second = _open(_integer_tables(), n)
    return first + second


def _open(tables: tuple[torch.Tensor, torch.Tensor], n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`n` consecutive numbers of each of two tables, from a random offset in each; `n` is at most 131,072."""
    place = int(torch.randint(_PLACES * _PLACES, (), device="cpu"))
    first, second = divmod(place, _PLACES)
    return tables[0][first : first + n], tables[1][second : second + n]


# The tables are the same in every process. Their device is given, because they may first be used under the meta device.


@cache
def _integer_tables() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator("cpu").manual_seed(0)
    words = torch.empty(2, (_PLACES + _CHUNK) // 4, dtype=torch.int64, device="cpu")
    tables = words.random_(-(1 << 63), None, generator=generator).view(torch.int16)
    return tables[0], tables[1]


@cache
def _normal_tables() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator("cpu").manual_seed(1)
    tables = torch.randn(2, _PLACES + _CHUNK, generator=generator, dtype=torch.float32, device="cpu")
    return tables[0], tables[1]


@cache
def _truncated_quantiles() -> torch.Tensor:
    """The medians of 65,536 equally likely slices of N(0, 1) truncated at 2 on both sides."""
    with torch.device("cpu"):
        probabilities = (torch.arange(_LEVELS, dtype=torch.float64) + 0.5) / _LEVELS
        share = torch.erf(torch.tensor(2 / 2**0.5, dtype=torch.float64))
        return (torch.erfinv((2 * probabilities - 1) * share) * 2**0.5).float()
