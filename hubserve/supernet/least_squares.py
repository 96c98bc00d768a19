"""`LeastSquares`: a linear fit of some values to others from running sums, and the choice of the inputs that it needs most."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-2
"""Factor of the L2 penalty of the weights, as a share of the mean variance of the inputs."""

ELIMINATION_STEPS = 48
"""Largest number of steps in which inputs are left out; after each step, the weights of the others are fitted anew."""


@dataclass(frozen=True)
class LinearFit:
    """Targets as a linear function of inputs, and how near it comes to them.

    Attributes:
        weight: (inputs, targets).
        bias: (targets,).
        mean: Mean of the fitted values, (targets,).
        variance: Variance of the fitted values, (targets,), above 0.
        error: Sum of the squared errors over the targets, for one row on average.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor
    error: float


class LeastSquares:
    """Sums over rows of inputs and targets, from which linear functions with an intercept are fitted, in float64.

    Args:
        inputs: Number of inputs.
        targets: Number of targets.
    """

    def __init__(self, inputs: int, targets: int) -> None:
        self._rows = 0
        self._products = torch.zeros(inputs, inputs, dtype=torch.float64)
        self._with_targets = torch.zeros(inputs, targets, dtype=torch.float64)
        self._sum = torch.zeros(inputs, dtype=torch.float64)
        self._target_sum = torch.zeros(targets, dtype=torch.float64)
        self._target_squares = torch.zeros(targets, dtype=torch.float64)

    def add(self, inputs: Tensor, targets: Tensor) -> None:
        """Adds rows.

        Args:
            inputs: (rows, inputs).
            targets: (rows, targets).
        """
        # The large product is taken in float32, which is several times as fast; rows are few thousand at a time.
        self._rows += len(inputs)
        self._products += (inputs.T @ inputs).double()
        self._with_targets += (inputs.T @ targets).double()
        self._sum += inputs.sum(0, dtype=torch.float64)
        self._target_sum += targets.sum(0, dtype=torch.float64)
        self._target_squares += targets.double().square().sum(0)

    def fit(self, expected: Tensor) -> LinearFit:
        """Returns the function with the smallest squared errors, with a penalty for weights that are far from those expected.

        Args:
            expected: Weights to which the penalty pulls, (inputs, targets). Where the rows are too few, they decide.
        """
        covariance, with_targets, mean, target_mean = self._moments()
        ridge = _ridge(covariance)
        weight = torch.linalg.solve(covariance + ridge, with_targets + ridge @ expected.double())
        variance = (weight * (covariance @ weight)).sum(0)
        target_variance = self._target_squares / self._rows - target_mean.square()
        error = float((target_variance + variance - 2 * (weight * with_targets).sum(0)).sum().clamp(min=0))
        return LinearFit(weight, target_mean - mean @ weight, target_mean, variance.clamp(min=1e-8), error)

    def of(self, kept: Tensor) -> "LeastSquares":
        """Returns the sums of the same rows with some of the inputs.

        Args:
            kept: Indices of the inputs, (n,) int64.
        """
        found = copy.copy(self)
        found._products, found._sum = self._products[kept][:, kept], self._sum[kept]
        found._with_targets = self._with_targets[kept]
        return found

    def most_useful(self, count: int) -> Tensor:
        """Returns the indices of `count` inputs, in ascending order, from which the targets can be fitted well.

        Inputs are left out in steps, always those without which the error grows least when all others are fitted anew
        (backward elimination; the growth for one input is that of Optimal Brain Surgeon, Hassibi and Stork 1993, where the
        loss is the squared error). That several are left out in one step is ours, to save time.
        """
        covariance, with_targets, _, _ = self._moments()
        left = torch.arange(len(covariance))
        inverse = torch.linalg.inv(covariance + _ridge(covariance))
        weight = inverse @ with_targets
        step = max(1, -(-(len(left) - count) // ELIMINATION_STEPS))
        while len(left) > count:
            growth = weight.square().sum(1) / inverse.diagonal()
            stays = torch.ones(len(left), dtype=torch.bool)
            stays[growth.topk(min(step, len(left) - count), largest=False).indices] = False
            # The inverse of the covariance of those that stay is a Schur complement in the present inverse.
            across = inverse[stays][:, ~stays]
            change = across @ torch.linalg.inv(inverse[~stays][:, ~stays])
            weight = weight[stays] - change @ weight[~stays]
            inverse = inverse[stays][:, stays] - change @ across.T
            left = left[stays]
        return left

    def _moments(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the covariance of the inputs, their covariance with the targets, and both means."""
        mean, target_mean = self._sum / self._rows, self._target_sum / self._rows
        covariance = self._products / self._rows - torch.outer(mean, mean)
        return covariance, self._with_targets / self._rows - torch.outer(mean, target_mean), mean, target_mean


def _ridge(covariance: Tensor) -> Tensor:
    """Returns the penalty as a matrix; a covariance plus this matrix can be inverted even if an input is constant."""
    return torch.eye(len(covariance), dtype=covariance.dtype) * (RIDGE * covariance.diagonal().mean() + 1e-12)
