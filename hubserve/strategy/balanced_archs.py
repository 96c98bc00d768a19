"""`balanced_arch`, random archs in which the answers to each choice come equally often."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats.qmc import LatinHypercube

from hubserve.space import Arch, Choice, ModelSpace, OneOf


def balanced_arch(space: ModelSpace, number: int, count: int, seed: int) -> Arch | None:
    """Returns one of `count` random archs in which the answers to each choice come as often as their probabilities say.

    Latin hypercube sampling (McKay, Beckman and Conover 1979, "A Comparison of Three Methods for Selecting Values of Input
    Variables in the Analysis of Output from a Computer Code"): in 20 archs each of 5 answers comes 4 times. An arch leaves out
    its inactive choices, so in spaces with conditions this holds for the choices that are always active.

    Args:
        space: The space.
        number: Which of the archs, from 0 to `count` - 1.
        count: Number of archs.
        seed: Seed of all archs.

    Returns:
        The arch; None if the space's check refuses it.
    """
    places = dict(zip(space.choices, _places(len(space.choices), count, seed)[number].tolist(), strict=True))
    arch = space.arch_from(lambda choice: _answer_at(choice, places[choice.label]))
    return arch if space.allows(arch) else None


@lru_cache(maxsize=16)
def _places(choices: int, count: int, seed: int) -> NDArray[np.float64]:
    """Returns numbers from 0 to 1, shape (count, choices); each column has one in each of `count` equal intervals."""
    found: NDArray[np.float64] = LatinHypercube(choices, seed=seed).random(count)
    return found


def _answer_at(choice: Choice, place: float) -> object:
    """Returns the answer at `place`, in [0, 1), if the answers divide this interval in parts as long as their probabilities."""
    if isinstance(choice, OneOf) and choice.weights is not None:
        ends = np.cumsum(choice.weights) / sum(choice.weights)
        return choice.candidates[int(np.searchsorted(ends, place, side="right"))]
    return choice.answer_at(int(place * choice.size))
