"""`CostTable`, a linear model of the cost of archs, which gives the mean cost of a distribution over archs."""

from collections.abc import Mapping
from random import Random
from typing import Any

import torch

from hubserve.space import Choice, ModelSpace
from hubserve.strategy.oneshot.arch_costs import ArchCost


class CostTable:
    """A cost for each candidate of each choice, fitted to archs of known cost.

    The cost of an arch is modelled as a constant plus one number for each candidate chosen in its active choices. The numbers
    are fitted by ridge regression to random archs. The model is exact if the cost of a candidate does not depend on the rest of
    the arch (NasBench201, ProxylessNAS). If it does, e.g. because widths multiply, it is an approximation whose quality is
    `r2`.

    Args:
        space: Any model space.
        cost: Function that returns the cost of an arch.
        rng: Draws the archs.
        n_archs: Number of archs to fit; None is three for each number to fit, at least 64 and at most 512.

    Attributes:
        r2: Coefficient of determination on archs that were not fitted: 1 is exact, 0 no better than predicting their mean. It
            is 1 if all of them cost the same.
        n_archs: Number of archs that were fitted.
    """

    def __init__(self, space: ModelSpace, cost: ArchCost, rng: Random, *, n_archs: int | None = None) -> None:
        self._space = space
        self._columns: dict[str, int] = {}
        self._width = 1
        for choice in space.gates_first:
            self._columns[choice.label] = self._width
            self._width += len(choice.candidates)
        self.n_archs = n_archs or min(512, max(64, self._width * 3))
        held_out = max(8, self.n_archs // 8)
        archs = [space.random(rng) for _ in range(self.n_archs + held_out)]
        rows = torch.stack([self._row(arch) for arch in archs])
        costs = torch.tensor([cost(arch) for arch in archs], dtype=torch.float64)
        self._scale = float(costs.abs().mean()) or 1.0
        self._numbers = _ridge(rows[: self.n_archs], costs[: self.n_archs] / self._scale)
        missed = (costs[self.n_archs :] / self._scale - rows[self.n_archs :] @ self._numbers).square().sum()
        spread = (costs[self.n_archs :] / self._scale - costs[self.n_archs :].mean() / self._scale).square().sum()
        self.r2 = 1.0 - float(missed / spread) if spread > 0 else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Returns the fitted numbers, so that a resumed search need not measure costs again (latencies would differ)."""
        return {"numbers": self._numbers, "scale": self._scale, "r2": self.r2}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores the numbers that `state_dict` returned; they must have been fitted for the same space."""
        self._numbers, self._scale, self.r2 = state_dict["numbers"], state_dict["scale"], state_dict["r2"]

    def estimate(self, arch: Mapping[str, Any]) -> float:
        """Returns the cost of `arch` that the table predicts, in the unit of the `cost` argument."""
        return float(self._row(self._space.canonical(arch)) @ self._numbers) * self._scale

    def expected(self, probabilities: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Returns the mean cost of archs whose answers are drawn independently, a scalar through which gradients flow.

        Args:
            probabilities: Maps labels to the probability of each candidate, shape (n,). A label that is missing has a single
                answer.
        """
        total = torch.as_tensor(float(self._numbers[0]))
        chances: dict[str, torch.Tensor] = {}
        for choice in self._space.gates_first:
            p = probabilities.get(choice.label)
            if p is None:  # Its single answer has all candidates.
                p = 1 / choice.expected_chosen(torch.ones(len(choice.candidates)))
            column = self._columns[choice.label]
            numbers = self._numbers[column : column + len(p)].to(p.device, p.dtype)
            chances[choice.label] = p
            mean = (choice.expected_chosen(p) * numbers).sum()
            total = total.to(p.device) + _chance(choice, self._space.choices, chances) * mean
        return total * self._scale

    def _row(self, arch: Mapping[str, Any]) -> torch.Tensor:
        row = torch.zeros(self._width, dtype=torch.float64)
        row[0] = 1.0
        for label, answer in arch.items():
            choice = self._space.choices[label]
            for index in choice.indices(answer):
                row[self._columns[label] + index] = 1.0
        return row


def _chance(choice: Choice, choices: Mapping[str, Choice], chances: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Returns the probability that `choice` is active, i.e. that one of its alternatives of conditions holds.

    All conditions are taken to be independent.

    Args:
        choice: The choice.
        choices: Maps labels to choices; it has at least the labels of the conditions.
        chances: Maps the labels of the conditions to the probability of each candidate, shape (n,).
    """
    misses = torch.ones(())
    for alternative in choice.conditions:
        holds = torch.ones(())
        for label, values in alternative:
            places = [choices[label].candidates.index(value) for value in values]
            holds = holds.to(chances[label].device) * chances[label][places].sum()
        misses = misses.to(holds.device) * (1 - holds)
    return 1 - misses


def _ridge(rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Returns the vector n that minimises |rows n - values|^2 + 1e-4 |n|^2 (ridge regression).

    The second term is small; it makes the solution unique where the archs do not determine it.

    Args:
        rows: One row for each arch, shape (archs, numbers), float64.
        values: The cost of each arch, shape (archs,), float64.
    """
    gram = rows.T @ rows
    return torch.linalg.solve(gram + 1e-4 * torch.eye(len(gram), dtype=gram.dtype), rows.T @ values)
