"""`ModelSpace`, a family of networks that a method `build(pick)` defines, with its choices, archs and networks."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cached_property
from random import Random
from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.errors import ArchError, SpaceError
from hubserve.similar_names import suggest
from hubserve.space.choice import Arch, Choice, gates_first
from hubserve.space.enumeration import arch_at, count_archs
from hubserve.space.picker import FrozenPicker, Picker, RecordingPicker


class ModelSpace(abc.ABC):
    """A family of networks. A subclass is a frozen dataclass whose fields are its settings, with a method `build`.

    Lists given as settings are converted to tuples and sets to frozensets, so that a space is hashable and its settings cannot
    change.

    Attributes:
        channels_last: Whether all networks of the space accept images of which the channels are the last axis in memory
            (`torch.channels_last`), and compute faster with them on the CPU. There, one-shot strategies train on such images
            then, and evaluators that train networks of the space. A network that calls `view` on the output of a convolution
            does not accept them.
    """

    channels_last: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

    @abc.abstractmethod
    def build(self, pick: Picker) -> nn.Module:
        """Builds and returns one network of the family, calling `pick` for each value that is to be chosen.

        A call of `pick` must not depend on the answer to an earlier one: `if pick("se", (False, True)): pick("ratio", ...)`
        would hide the second choice. A choice that applies only to some answers belongs inside a candidate of `pick.layer` or a
        block of `pick.repeat`; then the space knows on which answers it depends.
        """

    def check(self, arch: Arch) -> None:
        """Raises ArchError if answers may not be combined; override it for a rule about several choices.

        The default accepts every arch. `arch` has a valid answer to every active choice, unless `freeze` calls this method:
        `freeze` passes its own argument, which is not validated yet, so that labels of inactive choices may be there, values
        may be no candidates, and reading a missing label raises ArchError.
        """

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """All choices by label, including nested ones, in the order in which `build` asks for them.

        When this is first read, `build` is run once on the meta device.

        Raises:
            SpaceError: A label is asked for twice with different candidates, or candidates, weights or a depth are not valid.
        """
        recorder = RecordingPicker()
        with torch.device("meta"):
            self.build(recorder)
        return recorder.choices

    def freeze(self, arch: Mapping[str, Any]) -> nn.Module:
        """Returns the network of `arch`, newly initialized: plain torch modules with only the chosen candidates.

        Labels of `arch` that the builder does not ask for are ignored.

        Raises:
            ArchError: A label is missing, a value is not a candidate, or `check` refuses the arch.
        """
        self.check(_Answers(arch))
        return self.build(FrozenPicker(arch))

    def canonical(self, arch: Mapping[str, Any]) -> Arch:
        """Returns `arch` with only the active choices, in the order in which `build` asks.

        Two archs with the same canonical arch have the same network.

        Raises:
            ArchError: A label is missing, a value is not a candidate, or `check` refuses the arch.
        """
        picked = self.arch_from(lambda choice: choice.answer_in(arch))
        self.check(picked)
        return picked

    def arch_from(self, answer: Callable[[Choice], Any]) -> Arch:
        """Returns the arch made of `answer(choice)` for each active choice.

        The answers are taken as they are: they are neither parsed nor checked, and `check` is not called. The arch's labels are
        in the order in which `build` asks. `answer` is called only for active choices, and for the gates of a choice before the
        choice. Use this method for every iteration over the choices of an arch.
        """
        arch: Arch = {}
        for choice in self.gates_first:
            if choice.active(arch):
                arch[choice.label] = answer(choice)
        return self._in_order_of_asking(arch)

    def allows(self, arch: Arch) -> bool:
        """Returns whether `check` accepts `arch`, which must have an answer to every active choice."""
        try:
            self.check(arch)
        except ArchError:
            return False
        return True

    def validate(self, arch: Mapping[str, Any]) -> None:
        """Checks, without building a network, that `freeze` accepts `arch`.

        Raises:
            ArchError: A label is missing, a value is not a candidate, or `check` refuses the arch.
        """
        self.canonical(arch)

    def random(self, rng: Random | None = None) -> Arch:
        """Returns a random canonical arch, drawing each choice independently until `check` accepts the arch.

        Args:
            rng: Source of the random numbers; None is a new one with a random seed.

        Raises:
            SpaceError: `check` refused 10,000 archs.
        """
        rng = rng or Random()
        return self._first_allowed(lambda: self.arch_from(lambda choice: choice.random(rng)))

    def mutate(self, arch: Mapping[str, Any], rng: Random | None = None) -> Arch:
        """Returns `arch` with another answer to one random choice; choices that become active by this are drawn.

        The choice is drawn from the active ones with more than one answer, again until `check` accepts the result.

        Args:
            arch: A valid arch; it is not changed.
            rng: Source of the random numbers; None is a new one with a random seed.

        Raises:
            ArchError: `arch` is not valid.
            SpaceError: No choice of the arch has a second answer, or `check` refused 10,000 changed archs.
        """
        rng = rng or Random()
        parent = self.canonical(arch)
        labels = [label for label in parent if self.choices[label].size > 1]
        if not labels:
            raise SpaceError(f"{type(self).__name__}: nothing to mutate, no choice of this arch has a second candidate")

        def child() -> Arch:
            label = rng.choice(labels)
            known = {**parent, label: self.choices[label].another(parent[label], rng)}
            return self.arch_from(lambda choice: known[choice.label] if choice.label in known else choice.random(rng))

        return self._first_allowed(child)

    def count(self) -> int:
        """Returns the exact number of different canonical archs; a space that overrides `check` must override this as well."""
        return self.grid_size

    @cached_property
    def gates_first(self) -> tuple[Choice, ...]:
        """All choices in topological order: each comes after the choices whose answers decide whether it is asked for.

        Raises:
            SpaceError: Choices are conditions of each other.
        """
        return gates_first(self.choices)

    @cached_property
    def grid_size(self) -> int:
        """The number of canonical archs, including those that `check` refuses; `grid_arch` numbers them from 0."""
        return count_archs(self.gates_first)

    def grid_arch(self, index: int) -> Arch:
        """Returns the canonical arch at `index`, 0 <= index < grid_size; different indices give different archs.

        `check` is not called, so the arch may be one that it refuses.

        Raises:
            SpaceError: `index` is out of range.
        """
        if not 0 <= index < self.grid_size:
            raise SpaceError(f"{type(self).__name__} has no arch {index}: its {self.grid_size} archs are numbered from 0")
        return self._in_order_of_asking(arch_at(self.gates_first, index))

    def _first_allowed(self, draw: Callable[[], Arch]) -> Arch:
        for _ in range(_MAX_REDRAWS):
            if self.allows(arch := draw()):
                return arch
        raise SpaceError(f"{type(self).__name__}: no valid arch in {_MAX_REDRAWS} draws; its check() may refuse everything")

    def _in_order_of_asking(self, arch: Arch) -> Arch:
        return {label: arch[label] for label in self.choices if label in arch}


class _Answers(dict[str, Any]):
    """An arch that is not validated yet: reading a missing label, e.g. in `check`, raises ArchError."""

    def __missing__(self, label: str) -> Any:
        raise ArchError(f"arch has no {label!r}. {suggest(label, self)}")


_MAX_REDRAWS = 10_000


def _frozen(value: Any) -> Any:
    if isinstance(value, set):
        return frozenset(value)
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value
