"""`KOf` and `AnyOf`, choices of inputs: k of n, or any subset of them."""

import abc
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import torch

from hubserve.errors import ArchError, SpaceError
from hubserve.space.choice import Choice
from hubserve.space.relaxation import SIGMOID, Relaxation


@dataclass(frozen=True)
class _Inputs(Choice):
    """Base class of choices whose answer is a sorted list of candidates, which are the indices 0..n-1 of inputs."""

    def another(self, current: Any, rng: Random) -> Any:
        # Drawn until it differs: to list all subsets would take too long for many inputs.
        while (answer := self.random(rng)) == current:
            pass
        return answer

    @property
    @abc.abstractmethod
    def _lengths(self) -> range:
        """The lengths that the answer may have."""

    @property
    def size(self) -> int:
        return sum(math.comb(len(self.candidates), length) for length in self._lengths)

    def answers(self) -> Iterator[Any]:
        for length in self._lengths:
            yield from map(list, itertools.combinations(self.candidates, length))

    def answer_at(self, index: int) -> Any:
        for length in self._lengths:
            if index < (ways := math.comb(len(self.candidates), length)):
                return _combination_at(self.candidates, length, index)
            index -= ways
        raise IndexError(index)

    def parse(self, value: Any) -> Any:
        given = isinstance(value, (list, tuple))
        chosen = [candidate for candidate in self.candidates if candidate in value] if given else []
        if not given or len(chosen) != len(value) or len(chosen) not in self._lengths:
            length = "any number" if len(self._lengths) > 1 else str(self._lengths[0])
            raise ArchError(f"arch[{self.label!r}] = {value!r} is not a list of {length} of {self.candidates}, each once")
        return chosen

    def indices(self, answer: Any) -> list[int]:
        return list(answer)

    def to_category(self, answer: Any) -> Any:
        """Returns the answer as text such as "0,2"."""
        return ",".join(map(str, answer))

    def from_category(self, category: Any) -> Any:
        return [int(index) for index in category.split(",")] if category else []


@dataclass(frozen=True)
class KOf(_Inputs):
    """A choice whose answer is a sorted list of `n_chosen` inputs.

    Attributes:
        n_chosen: Length of the list, from 1 to the number of candidates.

    Raises:
        SpaceError: There are no candidates, or `n_chosen` is out of range.
    """

    n_chosen: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.n_chosen <= len(self.candidates):
            raise SpaceError(
                f"choice {self.label!r}: cannot choose n_chosen = {self.n_chosen} of {len(self.candidates)} inputs"
            )

    @property
    def _lengths(self) -> range:
        return range(self.n_chosen, self.n_chosen + 1)

    def random(self, rng: Random) -> Any:
        return sorted(rng.sample(self.candidates, self.n_chosen))

    def expected_chosen(self, probabilities: torch.Tensor) -> torch.Tensor:
        return self.n_chosen * probabilities

    def likeliest(self, probabilities: torch.Tensor) -> Any:
        return sorted(probabilities.topk(self.n_chosen).indices.tolist())

    def draw(self, probabilities: Sequence[float], rng: Random) -> Any:
        left, chosen = dict(enumerate(probabilities)), []
        for _ in range(self.n_chosen):
            chosen.append(rng.choices(list(left), list(left.values()))[0])
            del left[chosen[-1]]
        return sorted(chosen)


@dataclass(frozen=True)
class AnyOf(_Inputs):
    """A choice whose answer is a sorted list of any number of inputs, possibly empty."""

    relaxation: ClassVar[Relaxation] = SIGMOID

    @property
    def _lengths(self) -> range:
        return range(len(self.candidates) + 1)

    def random(self, rng: Random) -> Any:
        return [candidate for candidate in self.candidates if rng.random() < 0.5]

    def entropy(self, probabilities: torch.Tensor) -> float:
        return float((torch.special.entr(probabilities) + torch.special.entr(1 - probabilities)).sum())

    def likeliest(self, probabilities: torch.Tensor) -> Any:
        return (probabilities > 0.5).nonzero().flatten().tolist()

    def draw(self, probabilities: Sequence[float], rng: Random) -> Any:
        return [i for i, p in enumerate(probabilities) if rng.random() < p]


def inputs_choice(label: str, n_candidates: int, n_chosen: int | None) -> KOf | AnyOf:
    """Returns a `KOf` that chooses `n_chosen` of `n_candidates` inputs or, for None, an `AnyOf` of any number of them.

    Raises:
        SpaceError: `n_candidates` is below 1, or `n_chosen` is not from 1 to `n_candidates`.
    """
    candidates = tuple(range(n_candidates))
    return AnyOf(label, candidates) if n_chosen is None else KOf(label, candidates, n_chosen)


def _combination_at(candidates: tuple[Any, ...], size: int, index: int) -> list[Any]:
    """Returns the combination at position `index` of `itertools.combinations(candidates, size)` without listing them."""
    chosen: list[Any] = []
    for place, candidate in enumerate(candidates):
        with_it = math.comb(len(candidates) - place - 1, size - len(chosen) - 1) if len(chosen) < size else 0
        if index < with_it:
            chosen.append(candidate)
        else:
            index -= with_it
    return chosen
