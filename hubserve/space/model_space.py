"""The model space: everything that follows from running one builder with different pickers."""

from __future__ import annotations

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
    """A family of networks. Subclass it as a frozen dataclass whose fields are the settings, and write `build`.

    Lists given as settings become tuples, so that a space is hashable and its settings cannot change.
    """

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

    @abc.abstractmethod
    def build(self, pick: Picker) -> nn.Module:
        """One network of the family, asking `pick` wherever something is open.

        Which questions come must not depend on what a value was answered (`if pick("se", (False, True)): pick("ratio", ...)`):
        a question inside a choice goes into a candidate of `pick.layer` or a block of `pick.repeat`, so that it is known.
        """

    def check(self, arch: Arch) -> None:
        """Raises ArchError where labels do not go together; override for a rule that no single choice can state.

        `arch` answers every choice that matters; in `freeze` it may have labels that do not.
        """

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
        self.check(_Answers(arch))
        return self.build(FrozenPicker(arch))

    def canonical(self, arch: Mapping[str, Any]) -> Arch:
        """`arch` reduced to the labels that matter, in the order of asking: equal networks have equal canonical archs.

        Raises:
            ArchError: as for `freeze`.
        """
        picked = self.arch_from(lambda choice: choice.answer_in(arch))
        self.check(picked)
        return picked

    def arch_from(self, answer: Callable[[Choice], Any]) -> Arch:
        """The arch made of `answer(choice)` for each choice that matters, in the order of asking; not yet held to `check`.

        `answer` is called for gates before the choices that depend on them, and only for choices that matter.
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
        """Raises ArchError, naming the label, the value and the candidates, unless `freeze(arch)` works. Builds nothing."""
        self.canonical(arch)

    def random(self, rng: Random | None = None) -> Arch:
        """A canonical arch, each choice drawn on its own; redrawn until `check` agrees. Builds nothing."""
        rng = rng or Random()
        return self._first_allowed(lambda: self.arch_from(lambda choice: choice.random(rng)))

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

        def child() -> Arch:
            label = rng.choice(labels)
            known = {**parent, label: self.choices[label].another(parent[label], rng)}
            return self.arch_from(lambda choice: known[choice.label] if choice.label in known else choice.random(rng))

        return self._first_allowed(child)

    def count(self) -> int:
        """Exact number of different canonical archs. A space with a `check` of its own overrides this."""
        return self.grid_size

    @cached_property
    def gates_first(self) -> tuple[Choice, ...]:
        """The choices so ordered that each comes after those that decide whether it matters."""
        return gates_first(self.choices)

    @cached_property
    def grid_size(self) -> int:
        """Number of canonical archs before `check` refuses some: the indices of `grid_arch`."""
        return count_archs(self.gates_first)

    def grid_arch(self, index: int) -> Arch:
        """Canonical arch of number `index`, 0 <= index < grid_size, not yet held to `check`; each index is another arch."""
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
    """An arch that nobody has held to the choices yet, for `check` to read."""

    def __missing__(self, label: str) -> Any:
        raise ArchError(f"arch has no {label!r}. {suggest(label, self)}")


_MAX_REDRAWS = 10_000


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, (list, tuple)) else value
