"""Random initialisers of weights on the CPU that are faster than torch's, which take most of the time of building a network.

`torch.manual_seed` determines every weight, but only one number is drawn from torch's generator for each 131,072 weights. That
number gives an offset into each of two fixed tables of random numbers, and each weight is the sum of one number of each table.
The sum of two normal numbers is normal, and the sum of two uniform 16-bit numbers modulo 2^16 is uniform. Two tensors can
share a run of equal values only if the difference between the two offsets is the same for both, which has a probability below
1 in 200,000.
"""

from collections.abc import Iterator
from functools import cache

import torch

_SMALL = 1 << 12
"""Number of weights of a tensor below which torch's own initialisers are faster, and are used."""

_CHUNK = 1 << 17
"""Number of weights that are filled at a time; few enough that intermediate values stay in the processor's cache."""

_PLACES = 1 << 18
"""Number of different offsets into a table."""

_LEVELS = 1 << 16
"""Number of different values of a 16-bit number."""


def init_normal(weight: torch.Tensor, *, std: float) -> None:
    """Fills `weight` in place from a normal distribution with mean 0 and standard deviation `std`; skips meta tensors."""
    if weight.is_meta:
        return
    if _torch_is_faster(weight):
        weight.detach().normal_(0.0, std)
        return
    for part in _chunks(weight):
        first, second = _open(_normal_tables(), len(part))
        torch.add(first, second, out=part).mul_(std / 2**0.5)


def init_truncated_normal(weight: torch.Tensor, *, std: float) -> None:
    """Fills `weight` in place from a normal distribution truncated at -2 * std and 2 * std; skips meta tensors.

    The mean is 0, and `std` the standard deviation before truncation. On the CPU, weights take 65,536 values, equally likely.
    """
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
    """Fills `weight` in place from a uniform distribution between -bound and bound; skips meta tensors.

    On the CPU, the elements of a large tensor take 65,536 values, which are equally likely.
    """
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
    """Returns whether torch's initialisers are used: for small tensors, and for all tensors that are not on the CPU."""
    return not weight.is_cpu or weight.numel() < _SMALL


def _chunks(weight: torch.Tensor) -> Iterator[torch.Tensor]:
    """Returns views (n,) of consecutive parts of `weight`, of at most 131,072 elements each; `weight` must be contiguous."""
    flat = weight.detach().view(-1)
    return iter(torch.split(flat, _CHUNK)) if len(flat) > _CHUNK else iter((flat,))


def _random_int16(n: int) -> torch.Tensor:
    """Returns `n` numbers (n,), each uniformly distributed over the 65,536 values of an int16; `n` is at most 131,072."""
    first, second = _open(_integer_tables(), n)
    return first + second


def _open(tables: tuple[torch.Tensor, torch.Tensor], n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns `n` consecutive numbers of each of two tables, from a random offset into each; `n` is at most 131,072."""
    place = int(torch.randint(_PLACES * _PLACES, (), device="cpu"))
    first, second = divmod(place, _PLACES)
    return tables[0][first : first + n], tables[1][second : second + n]


# The tables are the same in every process. They are created on the CPU explicitly, since the first call of these functions may
# happen while the default device is the meta device.


@cache
def _integer_tables() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns two tables of uniformly distributed int16 numbers, (393,216,) each."""
    generator = torch.Generator("cpu").manual_seed(0)
    words = torch.empty(2, (_PLACES + _CHUNK) // 4, dtype=torch.int64, device="cpu")
    tables = words.random_(-(1 << 63), None, generator=generator).view(torch.int16)
    return tables[0], tables[1]


@cache
def _normal_tables() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns two tables of float32 numbers from the standard normal distribution, (393,216,) each."""
    generator = torch.Generator("cpu").manual_seed(1)
    tables = torch.randn(2, _PLACES + _CHUNK, generator=generator, dtype=torch.float32, device="cpu")
    return tables[0], tables[1]


@cache
def _truncated_quantiles() -> torch.Tensor:
    """Returns the medians (65,536,) of equally likely intervals of the standard normal distribution truncated at -2 and 2."""
    with torch.device("cpu"):
        probabilities = (torch.arange(_LEVELS, dtype=torch.float64) + 0.5) / _LEVELS
        share = torch.erf(torch.tensor(2 / 2**0.5, dtype=torch.float64))
        return (torch.erfinv((2 * probabilities - 1) * share) * 2**0.5).float()
