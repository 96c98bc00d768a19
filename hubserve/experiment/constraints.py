"""Constraints on archs, and the measures that they are about: known before an arch is trained."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from hubserve.complexity import complexity
from hubserve.errors import ExperimentError, suggest
from hubserve.space import Arch, ModelSpace

LATENCY = "latency_ms"
"""Measured on this machine, by an exported network, see hubserve.latency; no other measure takes long."""

HOW_LATENCY = "Give measures={'latency_ms': hubserve.latency.MeasuredLatency(input_size=...)}, or PredictedLatency(table)."

Relation = Literal["<=", ">="]

RELATIONS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}

Measure = Callable[[ModelSpace, Arch], dict[str, float]]
"""What an arch costs, by name; called before it is evaluated."""

InputShape = tuple[int, int, int]
"""(channels, height, width) of one picture."""


@dataclass(frozen=True)
class Constraint:
    """A bound on a measure of an arch.

    Attributes:
        measure: "params", "macs", "latency_ms", or one that an experiment's `measures` tell.
        relation: "<=" or ">=".
        bound: in elements, multiply-accumulates for one picture, or milliseconds.

    Raises:
        ExperimentError: another relation.
    """

    measure: str
    relation: Relation
    bound: float

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ExperimentError(f"{self.measure} {self.relation!r} {self.bound}: the relation is one of {tuple(RELATIONS)}")

    def __str__(self) -> str:
        return f"{self.measure} {self.relation} {self.bound:g}"

    def miss(self, value: float) -> float:
        """By which share of the bound `value` misses it; 0 where it does not."""
        if RELATIONS[self.relation](value, self.bound):
            return 0.0
        return abs(value - self.bound) / abs(self.bound) if self.bound else float("inf")


@dataclass(frozen=True)
class Feasibility:
    """What was measured of an arch, and which constraints it misses.

    Attributes:
        measures: name -> value.
        misses: constraint -> share of the bound by which it is missed.
        reason: the same for people.
    """

    measures: dict[str, float]
    misses: dict[str, float]
    reason: str


class Screen:
    """Measures archs, cheap measures first, and stops at the first constraint that is missed.

    Args:
        space: of the archs.
        constraints: that must all hold.
        wanted: measures that are also wanted for themselves, as objectives.
        measures: name -> how it is had, the cheap ones first.

    Raises:
        ExperimentError: a constraint is about something that is not measured.
    """

    def __init__(
        self,
        space: ModelSpace,
        constraints: Sequence[Constraint],
        wanted: Sequence[str],
        measures: Mapping[str, Measure],
    ) -> None:
        self._space = space
        self._constraints = tuple(constraints)
        names = {constraint.measure for constraint in constraints} | set(wanted)
        for name in names:
            if name not in measures:
                hint = HOW_LATENCY if name == LATENCY else suggest(name, measures)
                raise ExperimentError(f"no measure {name!r}. {hint}")
        self._measures = {name: measure for name, measure in measures.items() if name in names}

    def judge(self, arch: Arch) -> Feasibility:
        """Measures `arch` as far as needed."""
        known: dict[str, float] = {}
        for name, measure in self._measures.items():
            if name not in known:
                known.update(measure(self._space, arch))
            misses = self._misses(known)
            if misses:
                return Feasibility(known, misses, "; ".join(self._sentence(text, known, miss) for text, miss in misses.items()))
        return Feasibility(known, {}, "")

    def _misses(self, known: Mapping[str, float]) -> dict[str, float]:
        missed = {str(c): c.miss(known[c.measure]) for c in self._constraints if c.measure in known}
        return {text: miss for text, miss in missed.items() if miss > 0}

    def _sentence(self, text: str, known: Mapping[str, float], miss: float) -> str:
        name = text.split()[0]
        return f"{name} = {known[name]:g} misses {text} by {miss:.1%}"


class ComplexityOf:
    """Measures params and MACs together; nothing is computed, on the meta device.

    Args:
        input_shape: of one picture.
    """

    def __init__(self, input_shape: InputShape) -> None:
        self._input_shape = input_shape

    def __call__(self, space: ModelSpace, arch: Arch) -> dict[str, float]:
        with torch.device("meta"):
            model = space.freeze(arch)
        found = complexity(model, self._input_shape)
        return {"params": float(found.params), "macs": float(found.macs)}
