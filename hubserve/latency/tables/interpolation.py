"""Times of operations that nobody measured, from similar ones: in a space with searchable widths there are too many shapes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from hubserve.errors import ProfileError
from hubserve.latency.tables.fit import fit_without_negatives
from hubserve.operations import Operation, parse_key

ENOUGH = 6
"""Measured operations of a class from which its cost is fitted."""


class Estimator:
    """time = a x multiply-accumulates + b x numbers moved + c, fitted for each class of operations.

    Args:
        times: key of an operation -> ms.
    """

    def __init__(self, times: Mapping[str, float]) -> None:
        self.size = len(times)
        self._times: dict[tuple[str, ...], list[tuple[Operation, float]]] = defaultdict(list)
        self._costs: dict[tuple[str, ...], np.ndarray] = {}
        for key, ms in times.items():
            unit = parse_key(key)
            for group in _groups(unit):
                self._times[group].append((unit, max(ms, 1e-4)))

    def estimate(self, unit: Operation) -> float:
        """Milliseconds of an operation.

        Raises:
            ProfileError: none of its kind was measured.
        """
        for group in _groups(unit):
            if len(self._times[group]) >= ENOUGH:
                return float(_size(unit) @ self._cost(group))
        alike = [pair for group in _groups(unit) for pair in self._times[group]]
        if not alike:
            raise ProfileError(f"the latency table has no operation like {unit.key}; build it again with more archs (--archs)")
        return float(np.median([ms / max(_size(known)[1], 1) for known, ms in alike]) * _size(unit)[1])

    def _cost(self, group: tuple[str, ...]) -> np.ndarray:
        if group not in self._costs:
            units, times = zip(*self._times[group], strict=True)
            self._costs[group] = fit_without_negatives(np.stack([_size(unit) for unit in units]), np.array(times))
        return self._costs[group]


def _groups(unit: Operation) -> list[tuple[str, ...]]:
    """The classes of an operation, the narrowest first: same kernel, stride and resolution; then less and less the same."""
    if unit.kind != "conv":
        return [(unit.kind,)]
    groups = int(unit.attribute("groups"))
    form = "depthwise" if groups == unit.inputs[0][1] > 1 else "grouped" if groups > 1 else "dense"
    kernel, stride = str(unit.attribute("kernel")), str(unit.attribute("stride"))
    return [(form, kernel, stride, str(unit.output[2])), (form, kernel, stride), (form, kernel), ("conv", form), ("conv",)]


def _size(unit: Operation) -> np.ndarray:
    """Millions of multiply-accumulates, millions of numbers, and 1."""
    return np.array([unit.macs / 1e6, unit.elements / 1e6, 1.0])
