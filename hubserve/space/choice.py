"""`Choice`, a label with candidates of a model space, and `OneOf`, a choice of one candidate."""

import abc
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

import torch

from hubserve.errors import ArchError, SpaceError
from hubserve.similar_names import suggest
from hubserve.space.relaxation import SOFTMAX, Relaxation

Arch = dict[str, Any]
"""Maps the label of each choice to its answer, a JSON value: a number, string, bool or None, or a sorted list of ints for
inputs."""

Condition = tuple[str, tuple[Any, ...]]
"""(label, values): another choice is asked for only if the answer to this label is one of these values."""


@dataclass(frozen=True)
class Choice(abc.ABC):
    """A question of a model space: a label and the candidates of its answer. Subclasses are `OneOf`, `KOf` and `AnyOf`.

    Attributes:
        label: Name of the choice, unique in its space. A label that is asked for twice has one answer.
        candidates: Values among which the answer chooses.
        conditions: Alternatives, each a tuple of conditions on other choices that must all hold. The choice is active (asked
            for by the builder) if one alternative holds. A choice that is always active has the single alternative `()`.
        relaxation: Says how the logits of a differentiable search, one for each candidate, are converted to probabilities.

    Raises:
        SpaceError: There are no candidates.
    """

    label: str
    candidates: tuple[Any, ...]
    conditions: tuple[tuple[Condition, ...], ...] = field(default=((),), kw_only=True)
    relaxation: ClassVar[Relaxation] = SOFTMAX

    def __post_init__(self) -> None:
        if not self.candidates:
            raise SpaceError(f"choice {self.label!r} has no candidates; give at least one")

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """The number of different answers."""

    @abc.abstractmethod
    def answers(self) -> Iterator[Any]:
        """Yields all answers, in a fixed order."""

    @abc.abstractmethod
    def answer_at(self, index: int) -> Any:
        """Returns the answer at position `index` of `answers()`, 0 <= index < size, computed without listing the answers."""

    @abc.abstractmethod
    def random(self, rng: Random) -> Any:
        """Returns a random answer; all are equally likely unless a `OneOf` has `weights`."""

    @abc.abstractmethod
    def another(self, current: Any, rng: Random) -> Any:
        """Returns a random answer other than `current`, all equally likely (not by `weights`); there must be at least two."""

    @abc.abstractmethod
    def parse(self, value: Any) -> Any:
        """Returns the answer that equals `value` (4 and 4.0 are equal; inputs may be in any order).

        Raises:
            ArchError: `value` is not an answer to this choice.
        """

    @abc.abstractmethod
    def indices(self, answer: Any) -> list[int]:
        """Returns the indices in `candidates` of the candidates that `answer`, which must be valid, chooses."""

    @abc.abstractmethod
    def to_category(self, answer: Any) -> Any:
        """Returns `answer` as a category of Optuna's CategoricalDistribution: a number, a string, a bool or None."""

    @abc.abstractmethod
    def from_category(self, category: Any) -> Any:
        """Returns the answer for which `to_category` returned `category`."""

    @property
    def is_numeric(self) -> bool:
        """True if each answer is a single number; bools are not numbers here."""
        return False

    @property
    def gates(self) -> frozenset[str]:
        """Labels of the choices whose answers decide whether this choice is active (those in `conditions`)."""
        return frozenset(label for alternative in self.conditions for label, _ in alternative)

    def active(self, arch: Mapping[str, Any]) -> bool:
        """Returns whether the builder asks for this choice, given the answers in `arch` to its `gates`.

        A gate that `arch` lacks meets no condition.
        """
        return any(all(arch.get(label) in values for label, values in alternative) for alternative in self.conditions)

    def answer_in(self, arch: Mapping[str, Any]) -> Any:
        """Returns the answer to this choice in `arch`, as `parse` returns it.

        Raises:
            ArchError: `arch` lacks the label, or its value is not an answer.
        """
        if self.label not in arch:
            raise ArchError(f"arch has no {self.label!r}, which must be one of {self.candidates}. {suggest(self.label, arch)}")
        return self.parse(arch[self.label])

    def expected_chosen(self, probabilities: torch.Tensor) -> torch.Tensor:
        """Returns the expected count of each candidate in an answer drawn by `probabilities`, both of shape (candidates,).

        For `KOf` it is the count if k inputs were drawn with replacement, k times the probability, which may exceed 1.
        """
        return probabilities

    def entropy(self, probabilities: torch.Tensor) -> float:
        """Returns the entropy in nats of an answer drawn by `probabilities`, shape (candidates,).

        For `KOf` it is that of the first of the inputs.
        """
        return float(torch.special.entr(probabilities).sum())

    @abc.abstractmethod
    def likeliest(self, probabilities: torch.Tensor) -> Any:
        """Returns the most likely answer given the probability of each candidate, shape (candidates,)."""

    @abc.abstractmethod
    def draw(self, probabilities: Sequence[float], rng: Random) -> Any:
        """Returns a random answer, drawn by `probabilities`, one number for each candidate.

        The inputs of `KOf` are drawn one after another, without replacement.

        Raises:
            ValueError: Fewer probabilities are above 0 than candidates must be chosen.
        """


@dataclass(frozen=True)
class OneOf(Choice):
    """A choice whose answer is one of the candidates.

    Attributes:
        weights: Numbers to which the probabilities of the candidates are proportional in `random`; None is uniform.

    Raises:
        SpaceError: There are no candidates; or `weights` does not have one number for each candidate, one is negative or not
            finite, or none is positive.
    """

    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is not None and not _are_weights(self.weights, len(self.candidates)):
            raise SpaceError(
                f"choice {self.label!r}: weights = {self.weights} must be {len(self.candidates)} finite numbers, one for each "
                "candidate, none below 0 and at least one above it"
            )

    @property
    def size(self) -> int:
        return len(self.candidates)

    @property
    def is_numeric(self) -> bool:
        return all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in self.candidates)

    def answers(self) -> Iterator[Any]:
        yield from self.candidates

    def answer_at(self, index: int) -> Any:
        return self.candidates[index]

    def random(self, rng: Random) -> Any:
        """Returns a candidate drawn with probabilities proportional to `weights`."""
        if self.weights is None:
            return self.candidates[rng.randrange(len(self.candidates))]
        return rng.choices(self.candidates, self.weights)[0]

    def another(self, current: Any, rng: Random) -> Any:
        return rng.choice([candidate for candidate in self.candidates if candidate != current])

    def parse(self, value: Any) -> Any:
        for candidate in self.candidates:
            if candidate == value:
                return candidate
        raise ArchError(f"arch[{self.label!r}] = {value!r} is not one of {self.candidates}")

    def indices(self, answer: Any) -> list[int]:
        return [self.candidates.index(answer)]

    def to_category(self, answer: Any) -> Any:
        return answer

    def from_category(self, category: Any) -> Any:
        return category

    def likeliest(self, probabilities: torch.Tensor) -> Any:
        return self.candidates[int(probabilities.argmax())]

    def draw(self, probabilities: Sequence[float], rng: Random) -> Any:
        return rng.choices(self.candidates, probabilities)[0]


def _are_weights(weights: tuple[float, ...], n_candidates: int) -> bool:
    return len(weights) == n_candidates and all(weight >= 0 for weight in weights) and 0 < sum(weights) < math.inf


def gates_first(choices: Mapping[str, Choice]) -> tuple[Choice, ...]:
    """Returns the choices in a stable topological order: each after the choices that decide whether it is active.

    The order in which the builder asks is not enough: a label shared by several branches may be asked for before one of its
    gates.

    Raises:
        SpaceError: Choices are conditions of each other.
    """
    waiting = dict(choices)
    placed: dict[str, Choice] = {}
    while waiting:
        ready = [choice for choice in waiting.values() if choice.gates.isdisjoint(waiting)]
        if not ready:
            raise SpaceError(f"choices are conditions of each other: {', '.join(waiting)}; give each a label of its own")
        for choice in ready:
            placed[choice.label] = waiting.pop(choice.label)
    return tuple(placed.values())
