"""Estimates the times of operations that were not measured, by a linear cost model fitted to similar ones.

A space with choices of widths has more different shapes of operations than can be measured.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from hubserve.errors import ProfileError
from hubserve.operations import Operation, parse_key

ENOUGH = 6
"""Smallest number of measured operations of a class to which its cost is fitted."""


def fit_costs(features: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fits a linear cost model and returns its coefficients, (k,).

    They minimise the sum of squared relative errors of `features @ coefficients`; none is negative, as a cost cannot be.

    Args:
        features: Features of n samples, (n, k).
        target: Measured costs of the samples, (n,), each above 0.
    """
    coefficients: NDArray[np.float64] = nnls(features / target[:, None], np.ones(len(target)))[0]
    return coefficients


class OperationEstimator:
    """Estimates the time of an operation as a x multiply-accumulates + b x elements read or written + c.

    The coefficients are fitted for each class of operations, such as depthwise convolutions with the same kernel and stride.

    Args:
        times: Measured time of each operation in milliseconds, by `Operation.key`; one below 0.0001 counts as 0.0001.

    Attributes:
        size: Number of measured operations.

    Raises:
        ValueError: A text is not the key of an operation.
    """

    def __init__(self, times: Mapping[str, float]) -> None:
        self.size = len(times)
        self._times: dict[tuple[str, ...], list[tuple[Operation, float]]] = defaultdict(list)
        self._costs: dict[tuple[str, ...], np.ndarray] = {}
        for key, ms in times.items():
            operation = parse_key(key)
            for group in _groups(operation):
                self._times[group].append((operation, max(ms, 1e-4)))

    def estimate(self, operation: Operation) -> float:
        """Returns the estimated time of an operation in milliseconds.

        The coefficients are those of its narrowest class with at least `ENOUGH` measured operations. If there is none, the
        result is the number of elements times the median time of an element in the measured operations of its classes.

        Raises:
            ProfileError: No operation of the same kind was measured.
        """
        for group in _groups(operation):
            if len(self._times[group]) >= ENOUGH:
                return float(_size(operation) @ self._cost(group))
        alike = [pair for group in _groups(operation) for pair in self._times[group]]
        if not alike:
            raise ProfileError(
                f"the latency table has no operation like {operation.key}; build it again with more archs (--archs)"
            )
        return float(np.median([ms / max(_size(known)[1], 1e-6) for known, ms in alike]) * _size(operation)[1])

    def _cost(self, group: tuple[str, ...]) -> np.ndarray:
        if group not in self._costs:
            operations, times = zip(*self._times[group], strict=True)
            self._costs[group] = fit_costs(np.stack([_size(operation) for operation in operations]), np.array(times))
        return self._costs[group]


def _groups(operation: Operation) -> list[tuple[str, ...]]:
    """Returns the classes of an operation, the narrowest first.

    The narrowest class of a convolution has the same kernel, stride, output height and sparsity (depthwise, grouped or dense),
    and the widest has all convolutions. Any other operation has a single class, its kind.
    """
    if operation.kind != "conv":
        return [(operation.kind,)]
    groups = int(operation.attribute("groups"))
    sparsity = "depthwise" if groups == operation.inputs[0][1] > 1 else "grouped" if groups > 1 else "dense"
    kernel, stride = str(operation.attribute("kernel")), str(operation.attribute("stride"))
    return [
        (sparsity, kernel, stride, str(operation.output[2])),
        (sparsity, kernel, stride),
        (sparsity, kernel),
        ("conv", sparsity),
        ("conv",),
    ]


def _size(operation: Operation) -> np.ndarray:
    """Returns the features of an operation: millions of multiply-accumulates, millions of elements, and 1."""
    return np.array([operation.macs / 1e6, operation.elements / 1e6, 1.0])
