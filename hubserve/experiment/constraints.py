"""`Constraint`, a bound on a measure such as parameters or latency, and the check of archs before they are evaluated."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from hubserve.complexity import complexity
from hubserve.errors import ExperimentError
from hubserve.operations import Inputs
from hubserve.similar_names import suggest
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.optuna_internals import CONSTRAINTS

LATENCY = "latency_ms"
"""Name of the latency measure, for which an exported network is timed on this machine (see `hubserve.latency`)."""

MEASURES = ("params", "macs", LATENCY)
"""Names of the known measures. "params" and "macs" need no function in an experiment's `measures`; latency needs one."""

HOW_LATENCY = "Give measures={'latency_ms': hubserve.latency.MeasuredLatency(input_size=...)}, or PredictedLatency(table)."

Relation = Literal["<=", ">="]

RELATIONS: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}

Measure = Callable[[ModelSpace, Arch], dict[str, float]]
"""Function of a space and an arch that returns measures by name; called before the arch is evaluated."""

InputShape = Inputs
"""Shape of one input image: (channels, height, width); or the tensors that a network is called with, for a batch of one."""


@dataclass(frozen=True)
class Constraint:
    """A bound on a measure of an arch.

    Attributes:
        measure: Name of the measure: "params", "macs", "latency_ms", or a key of an experiment's `measures`.
        relation: "<=" if the measure must be at most the bound, ">=" if at least.
        bound: The bound in the unit of the measure: parameters, multiply-accumulates for one image, or milliseconds.

    Raises:
        ExperimentError: `relation` has another value, or the bound is not finite.
    """

    measure: str
    relation: Relation
    bound: float

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS:
            raise ExperimentError(f"{self.measure} {self.relation!r} {self.bound}: the relation is one of {tuple(RELATIONS)}")
        if not math.isfinite(self.bound):
            raise ExperimentError(f"{self.measure} {self.relation} {self.bound}: a bound is a finite number")

    def __str__(self) -> str:
        return f"{self.measure} {self.relation} {self.bound:g}"

    def miss(self, value: float) -> float:
        """Returns |value - bound| / |bound| if `value` violates the constraint, and 0 if the constraint holds.

        Returns infinity if the constraint is violated and the bound is 0, and for a value of NaN, which no constraint allows.
        """
        if math.isnan(value):
            return math.inf
        if RELATIONS[self.relation](value, self.bound):
            return 0.0
        return abs(value - self.bound) / abs(self.bound) if self.bound else math.inf

    def excess(self, value: float) -> float:
        """Returns by how much `value` is on the wrong side of the bound, in its unit; at most 0 if the constraint holds.

        Returns infinity for a value of NaN.
        """
        excess = value - self.bound if self.relation == "<=" else self.bound - value
        return math.inf if math.isnan(value) else excess


@dataclass(frozen=True)
class ArchFeasibility:
    """The measures of an arch, and the constraints that it violates.

    Attributes:
        measures: Value of each measure by name; measures after the first violated constraint are not taken.
        misses: Relative amount by which each violated constraint is violated (`Constraint.miss`), by the constraint's text;
            empty if all hold.
        reason: Sentence that says which constraints are violated and by how much; empty if all hold.
    """

    measures: dict[str, float]
    misses: dict[str, float]
    reason: str


class FeasibilityCheck:
    """Measures archs, in the order of `measures`, and stops at the first measure that violates a constraint.

    Measures that neither a constraint nor `wanted` names are not taken.

    Args:
        space: The space of the archs.
        constraints: Constraints that must all hold.
        wanted: Names of measures that are objectives, and so are taken even without a constraint on them.
        measures: The function for each measure by its name, the fast ones first. One function may return several measures.

    Raises:
        ExperimentError: A constraint or objective names a measure that has no function.
    """

    def __init__(
        self, space: ModelSpace, constraints: Sequence[Constraint], wanted: Sequence[str], measures: Mapping[str, Measure]
    ) -> None:
        self._space = space
        self._constraints = tuple(constraints)
        names = {constraint.measure for constraint in constraints} | set(wanted)
        for name in names:
            if name not in measures:
                hint = HOW_LATENCY if name == LATENCY else suggest(name, measures)
                raise ExperimentError(f"no measure {name!r}. {hint}")
        self._measures = {name: measure for name, measure in measures.items() if name in names}

    def check(self, arch: Arch) -> ArchFeasibility:
        """Measures `arch` until a constraint is violated or all measures are taken, and returns the result.

        Errors that the function of a measure raises are passed on.

        Raises:
            ExperimentError: The function of a measure does not return the measure that it is listed for.
        """
        known: dict[str, float] = {}
        for name, measure in self._measures.items():
            if name not in known:
                known.update(taken := measure(self._space, arch))
            if name not in known:
                raise ExperimentError(
                    f"measures[{name!r}] returned {', '.join(map(repr, taken)) or 'nothing'}, so nobody reports {name}; return "
                    f"{{{name!r}: ...}}"
                )
            missed = [c for c in self._constraints if c.measure in known and c.miss(known[c.measure])]
            if missed:
                misses = {str(c): c.miss(known[c.measure]) for c in missed}
                return ArchFeasibility(known, misses, "; ".join(_sentence(c, known[c.measure]) for c in missed))
        return ArchFeasibility(known, {}, "")


def _sentence(missed: Constraint, value: float) -> str:
    by = missed.miss(value)
    return f"{missed.measure} = {value:g} misses {missed}" + (f" by {by:.1%}" if math.isfinite(by) else "")


def constraint_attributes(constraints: Sequence[Constraint], measures: Mapping[str, float]) -> dict[str, list[float]]:
    """Returns a dict of the system attribute by which Optuna's samplers, plots and dashboard know whether a trial is feasible.

    The attribute has `Constraint.excess` of each constraint, in their order, and 0 for a measure that was not taken because an
    earlier constraint is violated. The dict is empty without constraints.
    """
    if not constraints:
        return {}
    return {CONSTRAINTS: [each.excess(measures[each.measure]) if each.measure in measures else 0.0 for each in constraints]}


class ComplexityMeasure:
    """Returns the "params" and "macs" of an arch, counted on the meta device without allocating weights or computing outputs.

    Args:
        input_shape: Shape of one input image: (channels, height, width); or the tensors that a network is called with, for a
            batch of one.
    """

    def __init__(self, input_shape: InputShape) -> None:
        self._input_shape = input_shape

    def __call__(self, space: ModelSpace, arch: Arch) -> dict[str, float]:
        with torch.device("meta"):
            model = space.freeze(arch)
        found = complexity(model, self._input_shape)
        return {"params": float(found.params), "macs": float(found.macs)}
