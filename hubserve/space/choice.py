"""One open question of a model space, and the order in which questions decide about each other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from hubserve.errors import ArchError, SpaceError, suggest

Arch = dict[str, Any]
"""Label -> chosen value. Plain JSON values: numbers, strings, and lists of int for input choices."""

Condition = tuple[str, tuple[Any, ...]]
"""A label and those of its values under which something is asked."""


@dataclass(frozen=True)
class Choice:
    """One open question of a model space: a label with its candidates.

    Attributes:
        label: unique in its space; asked again under the same label, it has the same answer.
        candidates: what may be answered. For an input choice, the indices 0..n-1 of the candidate inputs.
        multiple: whether the answer is a sorted list of candidates (an input choice) rather than one candidate.
        n_chosen: length of that list; None allows any subset, the empty one included.
        weights: of the candidates when sampling, in proportion; None is uniform. For subsets each is in with 1/2.
        conditions: alternatives, each a tuple of conditions that must all hold; the choice matters if one alternative does.
            A choice that always matters has the alternative `()`.

    Raises:
        SpaceError: no candidates, more to be chosen than there are, or weights that are none.
    """

    label: str
    candidates: tuple[Any, ...]
    multiple: bool = False
    n_chosen: int | None = None
    weights: tuple[float, ...] | None = None
    conditions: tuple[tuple[Condition, ...], ...] = ((),)

    def __post_init__(self) -> None:
        if not self.candidates:
            raise SpaceError(f"choice {self.label!r} has no candidates; give at least one")
        if self.n_chosen is not None and not 1 <= self.n_chosen <= len(self.candidates):
            raise SpaceError(
                f"choice {self.label!r}: cannot choose n_chosen = {self.n_chosen} of {len(self.candidates)} inputs"
            )
        if self.weights is not None and not _are_weights(self.weights, len(self.candidates)):
            raise SpaceError(
                f"choice {self.label!r}: weights = {self.weights} must be {len(self.candidates)} numbers, one a candidate, "
                "none below 0 and one above it"
            )

    @property
    def size(self) -> int:
        """Number of different answers."""
        if not self.multiple:
            return len(self.candidates)
        if self.n_chosen is None:
            return 1 << len(self.candidates)
        return math.comb(len(self.candidates), self.n_chosen)

    @property
    def gates(self) -> frozenset[str]:
        """Labels that decide whether this choice matters."""
        return frozenset(label for alternative in self.conditions for label, _ in alternative)

    def answers(self) -> Iterator[Any]:
        """All answers, in a fixed order."""
        if not self.multiple:
            yield from self.candidates
            return
        sizes = range(len(self.candidates) + 1) if self.n_chosen is None else (self.n_chosen,)
        for size in sizes:
            yield from (list(subset) for subset in itertools.combinations(self.candidates, size))

    def answer_at(self, index: int) -> Any:
        """The answer of that place in `answers()`, which are not listed for it."""
        if not self.multiple:
            return self.candidates[index]
        size = self.n_chosen
        if size is None:
            size = 0
            while index >= (ways := math.comb(len(self.candidates), size)):
                index, size = index - ways, size + 1
        return _subset_at(self.candidates, size, index)

    def random(self, rng: Random) -> Any:
        """An answer drawn by `weights`."""
        if not self.multiple:
            if self.weights is None:
                return self.candidates[rng.randrange(len(self.candidates))]
            return rng.choices(self.candidates, self.weights)[0]
        if self.n_chosen is None:
            return [candidate for candidate in self.candidates if rng.random() < 0.5]
        return sorted(rng.sample(self.candidates, self.n_chosen))

    def another(self, current: Any, rng: Random) -> Any:
        """An answer other than `current`, each equally likely; there must be one."""
        if not self.multiple:
            return rng.choice([candidate for candidate in self.candidates if candidate != current])
        # Drawn until it differs: to list all subsets would take too long for many inputs.
        while (answer := self.random(rng)) == current:
            pass
        return answer

    def parse(self, value: Any) -> Any:
        """The answer equal to `value` (4 and 4.0 are equal).

        Raises:
            ArchError: `value` is no answer to this choice.
        """
        if self.multiple:
            return self._parse_subset(value)
        for candidate in self.candidates:
            if candidate == value:
                return candidate
        raise ArchError(f"arch[{self.label!r}] = {value!r} is not one of {self.candidates}")

    def _parse_subset(self, value: Any) -> list[Any]:
        length = "any number" if self.n_chosen is None else str(self.n_chosen)
        wanted = f"a list of {length} of {self.candidates}, each once"
        if not isinstance(value, (list, tuple)):
            raise ArchError(f"arch[{self.label!r}] = {value!r} is not {wanted}")
        chosen = [candidate for candidate in self.candidates if candidate in value]
        if len(chosen) != len(value) or self.n_chosen not in (None, len(chosen)):
            raise ArchError(f"arch[{self.label!r}] = {value!r} is not {wanted}")
        return chosen

    def active(self, arch: Mapping[str, Any]) -> bool:
        """Whether the answer to this choice matters, given the answers in `arch` to the choices asked before it."""
        return any(all(arch.get(label) in values for label, values in alternative) for alternative in self.conditions)


def _are_weights(weights: tuple[float, ...], n_candidates: int) -> bool:
    return len(weights) == n_candidates and all(weight >= 0 for weight in weights) and 0 < sum(weights) < math.inf


def _subset_at(candidates: tuple[Any, ...], size: int, index: int) -> list[Any]:
    """Number `index` of `itertools.combinations(candidates, size)`."""
    chosen: list[Any] = []
    for place, candidate in enumerate(candidates):
        with_it = math.comb(len(candidates) - place - 1, size - len(chosen) - 1) if len(chosen) < size else 0
        if index < with_it:
            chosen.append(candidate)
        else:
            index -= with_it
    return chosen


def answer_to(choice: Choice, arch: Mapping[str, Any]) -> Any:
    """What `arch` answers to `choice`; raises ArchError."""
    if choice.label not in arch:
        raise ArchError(
            f"arch has no {choice.label!r}, which must be one of {choice.candidates}. {suggest(choice.label, arch)}"
        )
    return choice.parse(arch[choice.label])


def gates_first(choices: Mapping[str, Choice]) -> tuple[Choice, ...]:
    """Stable topological order. A label shared by several branches may be asked before one of its gates is."""
    waiting = dict(choices)
    placed: dict[str, Choice] = {}
    while waiting:
        ready = [choice for choice in waiting.values() if choice.gates.isdisjoint(waiting)]
        if not ready:
            raise SpaceError(
                f"choices decide about each other in a circle: {', '.join(waiting)}; give them labels of their own"
            )
        for choice in ready:
            placed[choice.label] = waiting.pop(choice.label)
    return tuple(placed.values())
