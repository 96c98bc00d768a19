"""Pickers, the objects that the `build` method of a model space asks for its choices."""

import abc
import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from torch import nn

from hubserve.errors import SpaceError
from hubserve.space.candidates import plain_candidates
from hubserve.space.choice import Choice, Condition, OneOf
from hubserve.space.input_choice import inputs_choice

T = TypeVar("T")


class Picker(abc.ABC):
    """Base class of pickers, which answer the questions of a builder.

    A builder asks for a value, a layer, the inputs of a node (or layers on these), or a number of blocks. The first argument of
    each method is the label of the choice. `weights` are the sampling weights of `OneOf`.

    Raises (when asked):
        SpaceError: Candidates, a number of inputs or a depth are not valid.
    """

    @abc.abstractmethod
    def __call__(self, label: str, candidates: Any, *, weights: Sequence[float] | None = None) -> Any:
        """Returns one of a sequence of candidates: numbers, strings, bools or None, all different (see `plain_candidates`).

        A single number or string is no choice and is returned unchanged.
        """

    @abc.abstractmethod
    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        """Returns the layer made by the chosen function; `candidates` maps names to functions without arguments.

        For the network of a single arch, the other candidates are not made.
        """

    @abc.abstractmethod
    def inputs(self, label: str, n_candidates: int, n_chosen: int | None = 1) -> list[int]:
        """Returns the sorted indices of the chosen inputs; `n_chosen=None` allows any number of them, including none."""

    def edges(
        self, label: str, n_candidates: int, make: Callable[[int], nn.Module], n_chosen: int | None = 1
    ) -> list[tuple[nn.Module, int]]:
        """Returns (layer, index of its input) for each chosen input, for a builder that sums the outputs of these layers.

        `make(i)` builds the layer on input i. Unlike with `inputs`, a supernet may return more than `n_chosen` pairs: a layer
        on each of the inputs, which multiplies its output by a weight.
        """
        return [(make(i), i) for i in self.inputs(label, n_candidates, n_chosen)]

    @abc.abstractmethod
    def repeat(
        self, label: str, depth: int | Collection[int], block: Callable[[int], T], *, weights: Sequence[float] | None = None
    ) -> list[T]:
        """Returns [block(0), ..., block(d - 1)] for the chosen depth d; choices made in `block(i)` are active only if d > i.

        `depth` is an int (no choice), a tuple (min, max), both included, or candidates: a set, range, list or longer tuple.
        """


def depth_candidates(label: str, depth: int | Collection[int]) -> tuple[int, ...]:
    """Returns the candidate depths for the argument `depth` of `Picker.repeat`; for an int, this int alone.

    Raises:
        SpaceError: `depth` has no format that `Picker.repeat` accepts.
    """
    given = sorted(depth) if isinstance(depth, Set) else depth
    if isinstance(given, tuple) and len(given) == 2 and given[0] == given[1]:
        given = given[:1]  # A range of one depth.
    depths = (depth,) if isinstance(depth, int) else plain_candidates(label, given)  # type: ignore[arg-type] # No int.
    whole = all(isinstance(d, int) and d >= 0 for d in depths)
    if whole and isinstance(depth, tuple) and len(depth) == 2:
        depths = tuple(range(depths[0], depths[-1] + 1))
    if not whole or not depths:
        raise SpaceError(
            f"choice {label!r}: depth = {depth!r} is not an int >= 0, a tuple (min, max), or a set, list or range of such ints"
        )
    return depths


def _covers(path: tuple[Condition, ...], other: tuple[Condition, ...]) -> bool:
    """Returns whether the conditions of `path` hold in every case in which those of `other` hold."""
    return all(any(label == gate and set(found) <= set(values) for gate, found in other) for label, values in path)


def is_fixed(candidates: Any) -> bool:
    """Returns whether `candidates` is a single number or string, so that there is nothing to choose."""
    return isinstance(candidates, (int, float, str, np.generic))


class FrozenPicker(Picker):
    """A picker that answers from an arch; labels of the arch that the builder does not ask for are ignored.

    Raises (when asked):
        ArchError: The arch lacks the label, or its value is not a candidate.
    """

    def __init__(self, arch: Mapping[str, Any]) -> None:
        self._arch = arch

    def __call__(self, label: str, candidates: Any, *, weights: Sequence[float] | None = None) -> Any:
        if is_fixed(candidates):
            return candidates
        return OneOf(label, plain_candidates(label, candidates)).answer_in(self._arch)

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        return candidates[OneOf(label, plain_candidates(label, candidates)).answer_in(self._arch)]()

    def inputs(self, label: str, n_candidates: int, n_chosen: int | None = 1) -> list[int]:
        return inputs_choice(label, n_candidates, n_chosen).answer_in(self._arch)

    def repeat(
        self, label: str, depth: int | Collection[int], block: Callable[[int], T], *, weights: Sequence[float] | None = None
    ) -> list[T]:
        depths = depth_candidates(label, depth)
        picked = depth if isinstance(depth, int) else OneOf(label, depths).answer_in(self._arch)
        return [block(i) for i in range(picked)]


class RecordingPicker(Picker):
    """A picker that makes the builder run every branch once, and records the choices, their order and their conditions.

    It answers with the first candidate or the first inputs, makes the layers of all candidates, and makes the blocks of the
    largest depth.

    Raises (when asked):
        SpaceError: Candidates, weights or a depth are not valid, or a label is asked for again with different candidates.
    """

    def __init__(self) -> None:
        self._choices: dict[str, Choice] = {}
        self._alternatives: dict[str, list[tuple[Condition, ...]]] = {}
        self._path: list[Condition] = []

    @property
    def choices(self) -> dict[str, Choice]:
        """The recorded choices by label, in the order in which the builder asked."""
        return {label: replace(choice, conditions=self._conditions(label)) for label, choice in self._choices.items()}

    def __call__(self, label: str, candidates: Any, *, weights: Sequence[float] | None = None) -> Any:
        if is_fixed(candidates):
            return candidates
        found = plain_candidates(label, candidates)
        self._note(OneOf(label, found, weights=None if weights is None else tuple(weights)))
        return found[0]

    def layer(self, label: str, candidates: Mapping[str, Callable[[], nn.Module]]) -> nn.Module:
        self._note(OneOf(label, plain_candidates(label, candidates)))
        layers = []
        # All candidates, even where the label was asked before: here they may ask for other labels.
        for name, make in candidates.items():
            with self._under(label, (name,)):
                layers.append(make())
        return layers[0]

    def inputs(self, label: str, n_candidates: int, n_chosen: int | None = 1) -> list[int]:
        self._note(inputs_choice(label, n_candidates, n_chosen))
        return list(range(n_candidates if n_chosen is None else n_chosen))

    def repeat(
        self, label: str, depth: int | Collection[int], block: Callable[[int], T], *, weights: Sequence[float] | None = None
    ) -> list[T]:
        depths = depth_candidates(label, depth)
        if isinstance(depth, int):
            return [block(i) for i in range(depth)]
        self._note(OneOf(label, depths, weights=None if weights is None else tuple(weights)))
        made = []
        for i in range(max(depths)):
            reached = tuple(d for d in depths if d > i)
            with contextlib.nullcontext() if len(reached) == len(depths) else self._under(label, reached):
                made.append(block(i))
        return made

    def _note(self, choice: Choice) -> None:
        """Records `choice` and the conditions under which the builder asks for it now.

        Raises:
            SpaceError: The label was recorded before with different candidates.
        """
        known = self._choices.setdefault(choice.label, choice)
        if known != choice:
            raise SpaceError(
                f"label {choice.label!r} is asked twice with different candidates: {known.candidates}, "
                f"then {choice.candidates}; give each choice a label of its own"
            )
        paths = self._alternatives.setdefault(choice.label, [])
        if tuple(self._path) not in paths:
            paths.append(tuple(self._path))

    def _conditions(self, label: str) -> tuple[tuple[Condition, ...], ...]:
        """Returns the alternatives of conditions of a label, without those that are a special case of another alternative."""
        kept: list[tuple[Condition, ...]] = []
        for path in self._alternatives[label]:
            if not any(_covers(other, path) for other in kept):
                kept = [*(other for other in kept if not _covers(path, other)), path]
        return tuple(kept)

    @contextlib.contextmanager
    def _under(self, label: str, values: tuple[Any, ...]) -> Iterator[None]:
        self._path.append((label, values))
        try:
            yield
        finally:
            self._path.pop()
