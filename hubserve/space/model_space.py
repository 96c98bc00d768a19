"""`ModelSpace`: a family of networks, with its choices, its archs and their networks, from one method `build(pick)`."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cached_property
from random import Random
from typing import Any

import torch
from torch import nn

from hubserve.errors import ArchError, SpaceError, suggest
from hubserve.space.choice import Arch, Choice, gates_first
from hubserve.space.enumeration import arch_at, count_archs
from hubserve.space.picker import FrozenPicker, Picker, RecordingPicker


class ModelSpace(abc.ABC):
    """A family of networks. Subclass it as a frozen dataclass whose fields are its settings, and write `build`.

    Lists given as settings are converted to tuples, so that a space is hashable and its settings cannot change.
    """

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

    @abc.abstractmethod
    def build(self, pick: Picker) -> nn.Module:
        """Builds one network of the family, and calls `pick` for each value that is to be chosen.

        A call of `pick` must not depend on the answer to an earlier one: `if pick("se", (False, True)): pick("ratio", ...)`
        would hide the second choice. A choice that matters only under some answers belongs inside a candidate of `pick.layer`
        or inside a block of `pick.repeat`; then the space knows on what it depends.
        """

    def check(self, arch: Arch) -> None:
        """Raises ArchError where answers do not go together. Override it for a rule about several choices.

        `arch` has an answer to every choice that matters. `freeze` may also pass labels that do not matter.
        """

    @cached_property
    def choices(self) -> dict[str, Choice]:
        """Label -> choice, nested ones included, in the order in which `build` asks; found by one build on the meta device."""
        recorder = RecordingPicker()
        with torch.device("meta"):
            self.build(recorder)
        return recorder.choices

    def freeze(self, arch: Mapping[str, Any]) -> nn.Module:
        """The network of `arch`, with fresh weights: plain torch modules, and only the candidates that were chosen.

        Labels of `arch` that the space does not ask for are ignored.

        Raises:
            ArchError: A label is missing, a value is no candidate, or `check` refuses the arch.
        """
        self.check(_Answers(arch))
        return self.build(FrozenPicker(arch))

    def canonical(self, arch: Mapping[str, Any]) -> Arch:
        """`arch` reduced to the labels that matter, in the order of asking: archs of one network have one canonical arch.

        Raises:
            ArchError: A label is missing, a value is no candidate, or `check` refuses the arch.
        """
        picked = self.arch_from(lambda choice: choice.answer_in(arch))
        self.check(picked)
        return picked

    def arch_from(self, answer: Callable[[Choice], Any]) -> Arch:
        """The arch made of `answer(choice)` for each choice that matters, in the order of asking; `check` is not asked.

        `answer` is called for a gate before the choices that depend on it, and only for choices that matter. Every walk over
        the choices of an arch goes through this method.
        """
        arch: Arch = {}
        for choice in self.gates_first:
            if choice.active(arch):
                arch[choice.label] = answer(choice)
        return self._in_order_of_asking(arch)

    def allows(self, arch: Arch) -> bool:
        """Whether `check` accepts an arch that answers every choice that matters."""
        try:
            self.check(arch)
        except ArchError:
            return False
        return True

    def validate(self, arch: Mapping[str, Any]) -> None:
        """Raises ArchError where `freeze(arch)` would, without building a network."""
        self.canonical(arch)

    def random(self, rng: Random | None = None) -> Arch:
        """A random canonical arch: each choice is drawn independently, again and again until `check` accepts the arch.

        Args:
            rng: Source of the random numbers; None is a new one with a random seed.

        Raises:
            SpaceError: `check` accepts none of 10,000 archs.
        """
        rng = rng or Random()
        return self._first_allowed(lambda: self.arch_from(lambda choice: choice.random(rng)))

    def mutate(self, arch: Mapping[str, Any], rng: Random | None = None) -> Arch:
        """`arch` with another answer to one choice, drawn from those that matter and have several answers.

        Choices that begin to matter by the change are drawn.

        Args:
            arch: A valid arch; it is not changed.
            rng: Source of the random numbers; None is a new one with a random seed.

        Raises:
            ArchError: `arch` is not valid.
            SpaceError: No choice of the arch has a second answer, or `check` accepts none of 10,000 changed archs.
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
        """Exact number of different canonical archs. A space that overrides `check` overrides this, too."""
        return self.grid_size

    @cached_property
    def gates_first(self) -> tuple[Choice, ...]:
        """All choices in topological order: each comes after the choices whose answers decide whether it is asked for."""
        return gates_first(self.choices)

    @cached_property
    def grid_size(self) -> int:
        """Number of canonical archs, with those that `check` refuses: `grid_arch` numbers them from 0."""
        return count_archs(self.gates_first)

    def grid_arch(self, index: int) -> Arch:
        """The canonical arch at `index`, 0 <= index < grid_size; different indices give different archs. `check` is not asked.

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
    """An arch before its validation: `check` gets an ArchError for a label that is missing."""

    def __missing__(self, label: str) -> Any:
        raise ArchError(f"arch has no {label!r}. {suggest(label, self)}")


_MAX_REDRAWS = 10_000


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value
