"""Model spaces: a builder that asks, and the pickers that answer.

A `ModelSpace` describes a family of networks by one method, `build(pick)`, that builds *one* network and asks `pick` wherever
the family leaves something open. Run with different pickers the same method yields the list of choices or a frozen network.

>>> @dataclass(frozen=True)
... class Tiny(ModelSpace):
...     def build(self, pick):
...         width = pick("width", (8, 16))
...         blocks = pick.repeat("depth", (1, 3), lambda i: nn.Conv2d(width, width, pick(f"ks_{i}", (1, 3)), padding="same"))
...         return nn.Sequential(nn.Conv2d(3, width, 1), *blocks)
>>> Tiny().count()
28
>>> Tiny().freeze({"width": 8, "depth": 1, "ks_0": 3})
Sequential(
  (0): Conv2d(3, 8, kernel_size=(1, 1), stride=(1, 1))
  (1): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=same)
)
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from random import Random
from typing import Any, TypeVar

import torch
from torch import nn

from hubserve.errors import ArchError, SpaceError, suggest

Arch = dict[str, Any]
"""Label -> chosen value. Plain JSON values: numbers, strings, and lists of int for input choices."""

Condition = tuple[str, tuple[Any, ...]]
"""A label and those of its values under which something is asked."""

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """One open question of a model space: a label with its candidates.

    Attributes:
        label: unique in its space; asked again under the same label, it has the same answer.
        candidates: what may be answered. For an input choice, the indices 0..n-1 of the candidate inputs.
        multiple: whether the answer is a sorted list of candidates (an input choice) rather than one candidate.
        n_chosen: length of that list; None allows any subset, the empty one included.
        weights: probability of each candidate when sampling; None is uniform. For subsets each is in with 1/2.
        conditions: alternatives, each a tuple of conditions that must all hold; the choice matters if one alternative does.
            A choice that always matters has the alternative `()`.
    """

    label: str
    candidates: tuple[Any, ...]
    multiple: bool = False
    n_chosen: int | None = None
    weights: tuple[float, ...] | None = None
    conditions: tuple[tuple[Condition, ...], ...] = ((),)

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

    def random(self, rng: Random) -> Any:
        """An answer drawn by `weights`."""
        if not self.multiple:
            if self.weights is None:
                return self.candidates[rng.randrange(len(self.candidates))]
            return rng.choices(self.candidates, self.weights)[0]
        if self.n_chosen is None:
            return [candidate for candidate in self.candidates if rng.random() < 0.5]
        return sorted(rng.sample(self.candidates, self.n_chosen))

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


class Picker(abc.ABC):
    """Answers the questions of a builder. Four verbs: a value, a layer, inputs, and a number of repeats."""

    @abc.abstractmethod
    def __call__(self, label: str, candidates: T | Sequence[T], *, weights: Sequence[float] | None = None) -> T:
        """One of `candidates`. A bare number or string is a choice already made: it comes back and leaves no label."""

    @abc.abstractmethod
    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        """The layer of the picked name; a frozen model builds that candidate only."""

    @abc.abstractmethod
    def inputs(self, label: str, n_candidates: int, n_chosen: int | None = 1) -> list[int]:
        """Sorted indices of the chosen inputs; `n_chosen=None` allows any subset."""

    @abc.abstractmethod
    def repeat(self, label: str, depth: int | Sequence[int], block: Callable[[int], T]) -> list[T]:
        """`block(0) ... block(d - 1)` for the picked depth d; choices in `block(i)` matter only where d > i.

        `depth` is an int (no choice), a pair (min, max), both included, or a longer sequence of candidates.
        """


def _candidates(label: str, candidates: Sequence[Any]) -> tuple[Any, ...]:
    found = tuple(candidates)
    if not found:
        raise SpaceError(f"choice {label!r} has no candidates; give at least one")
    if any(found[i] in found[:i] for i in range(1, len(found))):
        raise SpaceError(f"choice {label!r} lists a candidate twice: {found}")
    return found


def _depths(label: str, depth: Sequence[int]) -> tuple[int, ...]:
    """A pair is a range, anything longer a list of candidates."""
    depths = tuple(depth)
    if len(depths) == 2 and depths[0] < depths[1]:
        depths = tuple(range(depths[0], depths[1] + 1))
    if not depths or any(not isinstance(d, int) or d < 0 for d in depths):
        raise SpaceError(f"choice {label!r}: depth = {depth!r} is not an int >= 0, a pair (min, max), or a list of such ints")
    return depths


def _is_fixed(candidates: Any) -> bool:
    return isinstance(candidates, (int, float, str))


def _answer(choice: Choice, arch: Mapping[str, Any]) -> Any:
    """What `arch` answers to `choice`; raises ArchError."""
    if choice.label not in arch:
        raise ArchError(
            f"arch has no {choice.label!r}, which must be one of {choice.candidates}. {suggest(choice.label, arch)}"
        )
    return choice.parse(arch[choice.label])


class FrozenPicker(Picker):
    """Answers from an arch; labels of the arch that nobody asks for are ignored."""

    def __init__(self, arch: Mapping[str, Any]) -> None:
        self._arch = arch

    def __call__(self, label: str, candidates: Any, *, weights: Sequence[float] | None = None) -> Any:
        if _is_fixed(candidates):
            return candidates
        return _answer(Choice(label, _candidates(label, candidates)), self._arch)

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        return candidates[_answer(Choice(label, tuple(candidates)), self._arch)]()

    def inputs(self, label: str, n_candidates: int, n_chosen: int | None = 1) -> list[int]:
        choice = Choice(label, tuple(range(n_candidates)), multiple=True, n_chosen=n_chosen)
        chosen: list[int] = _answer(choice, self._arch)
        return chosen

    def repeat(self, label: str, depth: int | Sequence[int], block: Callable[[int], T]) -> list[T]:
        picked = depth if isinstance(depth, int) else _answer(Choice(label, _depths(label, depth)), self._arch)
        return [block(i) for i in range(picked)]


class RecordingPicker(Picker):
    """Walks every branch of a builder once and notes what it asks, in order, and under which conditions."""

    def __init__(self) -> None:
        self._choices: dict[str, Choice] = {}
        self._alternatives: dict[str, list[tuple[Condition, ...]]] = {}
        self._path: list[Condition] = []

    @property
    def choices(self) -> dict[str, Choice]:
        """Label -> choice, in the order of asking."""
        return {
            label: Choice(c.label, c.candidates, c.multiple, c.n_chosen, c.weights, self._conditions(label))
            for label, c in self._choices.items()
        }

    def __call__(self, label: str, candidates: Any, *, weights: Sequence[float] | None = None) -> Any:
        if _is_fixed(candidates):
            return candidates
        found = _candidates(label, candidates)
        self._note(Choice(label, found, weights=None if weights is None else tuple(weights)))
        return found[0]

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        first_time = self._note(Choice(label, _candidates(label, tuple(candidates))))
        # A label asked again has the same candidates, so what they ask in turn is known already.
        names = list(candidates) if first_time else list(candidates)[:1]
        layers = []
        for name in names:
            with self._under(label, (name,)):
                layers.append(candidates[name]())
        return layers[0]

    def inputs(self, label: str, n_candidates: int, n_chosen: int | None = 1) -> list[int]:
        choice = Choice(label, tuple(range(n_candidates)), multiple=True, n_chosen=n_chosen)
        self._note(choice)
        return list(choice.candidates[: n_candidates if n_chosen is None else n_chosen])

    def repeat(self, label: str, depth: int | Sequence[int], block: Callable[[int], T]) -> list[T]:
        if isinstance(depth, int):
            return [block(i) for i in range(depth)]
        depths = _depths(label, depth)
        self._note(Choice(label, depths))
        made = []
        for i in range(max(depths)):
            reached = tuple(d for d in depths if d > i)
            with contextlib.nullcontext() if len(reached) == len(depths) else self._under(label, reached):
                made.append(block(i))
        return made

    def _note(self, choice: Choice) -> bool:
        """Remembers the choice and the path to it; returns whether its label is new."""
        known = self._choices.setdefault(choice.label, choice)
        if known != choice:
            raise SpaceError(
                f"label {choice.label!r} is asked twice with different candidates: {known.candidates}, "
                f"then {choice.candidates}; give each choice a label of its own"
            )
        paths = self._alternatives.setdefault(choice.label, [])
        if tuple(self._path) not in paths:
            paths.append(tuple(self._path))
        return known is choice

    def _conditions(self, label: str) -> tuple[tuple[Condition, ...], ...]:
        paths = self._alternatives[label]
        return ((),) if () in paths else tuple(paths)

    @contextlib.contextmanager
    def _under(self, label: str, values: tuple[Any, ...]) -> Iterator[None]:
        self._path.append((label, values))
        try:
            yield
        finally:
            self._path.pop()


class ModelSpace(abc.ABC):
    """A family of networks. Subclass it as a frozen dataclass whose fields are the settings, and write `build`.

    Lists given as settings become tuples, so that a space is hashable and its settings cannot change.
    """

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

    @abc.abstractmethod
    def build(self, pick: Picker) -> nn.Module:
        """One network of the family, asking `pick` wherever something is open."""

    def check(self, arch: Arch) -> None:
        """Raises ArchError where labels do not go together; override for a rule that no single choice can state."""

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Label -> choice, nested ones too, in the order of asking; read once, on the meta device."""
        recorder = RecordingPicker()
        with torch.device("meta"):
            self.build(recorder)
        return recorder.choices

    def freeze(self, arch: Mapping[str, Any]) -> nn.Module:
        """The network of `arch`, with fresh weights: plain torch modules, only what was picked.

        Labels of `arch` that the space does not ask for are ignored.

        Raises:
            ArchError: a label is missing or has a value that is no candidate.
        """
        self.check(dict(arch))
        return self.build(FrozenPicker(arch))

    def canonical(self, arch: Mapping[str, Any]) -> Arch:
        """`arch` reduced to the labels that matter, in the order of asking: equal networks have equal canonical archs.

        Raises:
            ArchError: as for `freeze`.
        """
        picked: Arch = {}
        for choice in self._gates_first:
            if choice.active(picked):
                picked[choice.label] = _answer(choice, arch)
        self.check(picked)
        return self._in_order_of_asking(picked)

    def validate(self, arch: Mapping[str, Any]) -> None:
        """Raises ArchError, naming the label, the value and the candidates, unless `freeze(arch)` works. Builds nothing."""
        self.canonical(arch)

    def random(self, rng: Random | None = None) -> Arch:
        """A canonical arch, each choice drawn on its own; redrawn until `check` agrees. Builds nothing."""
        rng = rng or Random()
        for _ in range(_MAX_REDRAWS):
            arch = self._draw(rng)
            if self._agrees(arch):
                return arch
        raise SpaceError(f"{type(self).__name__}: no valid arch in {_MAX_REDRAWS} draws; its check() may refuse everything")

    def mutate(self, arch: Mapping[str, Any], rng: Random | None = None) -> Arch:
        """`arch` with the answer to one choice that matters changed to another one; choices it brings in are drawn.

        Raises:
            ArchError: `arch` is not valid.
            SpaceError: no choice has another answer.
        """
        rng = rng or Random()
        parent = self.canonical(arch)
        labels = [label for label in parent if self.choices[label].size > 1]
        if not labels:
            raise SpaceError(f"{type(self).__name__}: nothing to mutate, no choice of this arch has a second candidate")
        for _ in range(_MAX_REDRAWS):
            label = rng.choice(labels)
            other = self._other_answer(self.choices[label], parent[label], rng)
            child = self._draw(rng, known={**parent, label: other})
            if self._agrees(child):
                return child
        raise SpaceError(f"{type(self).__name__}: no valid neighbour in {_MAX_REDRAWS} tries")

    def count(self) -> int:
        """Exact number of different canonical archs. A space with a `check` of its own overrides this."""
        return _count(self._gates_first)

    @cached_property
    def _gates_first(self) -> tuple[Choice, ...]:
        """The choices so ordered that each comes after those that decide whether it matters."""
        return _gates_first(self.choices)

    def _in_order_of_asking(self, arch: Arch) -> Arch:
        return {label: arch[label] for label in self.choices if label in arch}

    def _draw(self, rng: Random, known: Mapping[str, Any] | None = None) -> Arch:
        arch: Arch = {}
        for choice in self._gates_first:
            if choice.active(arch):
                arch[choice.label] = known[choice.label] if known and choice.label in known else choice.random(rng)
        return self._in_order_of_asking(arch)

    def _agrees(self, arch: Arch) -> bool:
        try:
            self.check(arch)
        except ArchError:
            return False
        return True

    @staticmethod
    def _other_answer(choice: Choice, current: Any, rng: Random) -> Any:
        return rng.choice([answer for answer in choice.answers() if answer != current])


_MAX_REDRAWS = 10_000


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value


def _gates_first(choices: Mapping[str, Choice]) -> tuple[Choice, ...]:
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


def _count(choices: Sequence[Choice]) -> int:
    """Product over groups of choices that share conditions; within a group, a sum over the answers that gate others."""
    gates = frozenset().union(*(choice.gates for choice in choices))
    return math.prod(_count_group(group, gates, {}) for group in _groups(choices))


def _count_group(group: Sequence[Choice], gates: frozenset[str], arch: Arch) -> int:
    """Canonical archs of the choices in `group`, the gates before them answered by `arch`."""
    total = 1
    for i, choice in enumerate(group):
        if not choice.active(arch):
            continue
        if choice.label in gates:
            rest = group[i + 1 :]
            return total * sum(_count_group(rest, gates, {**arch, choice.label: answer}) for answer in choice.answers())
        total *= choice.size
    return total


def _groups(choices: Sequence[Choice]) -> list[list[Choice]]:
    """Choices split into groups with no condition between them, order kept."""
    joined_to: dict[str, str] = {}

    def root(label: str) -> str:
        while label in joined_to:
            label = joined_to[label]
        return label

    for choice in choices:
        for gate in choice.gates:
            if root(gate) != root(choice.label):
                joined_to[root(choice.label)] = root(gate)
    groups: dict[str, list[Choice]] = {}
    for choice in choices:
        groups.setdefault(root(choice.label), []).append(choice)
    return list(groups.values())
