"""What an arch costs in hardware terms, and what a distribution over archs costs in the mean."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping
from random import Random
from typing import Any, Literal, Protocol, get_args

import torch

from hubserve.complexity import complexity
from hubserve.errors import StrategyError
from hubserve.space import Arch, Choice, ModelSpace

Measure = Literal["macs", "params", "latency_ms"]
"""MACs and parameters are counted exactly; latency is that of eager PyTorch on one picture, on this machine."""


class ArchCost(Protocol):
    """Anything that tells what an arch costs."""

    def __call__(self, arch: Arch) -> float:
        """In a unit of its own; more is worse."""
        ...


class MeasuredCost:
    """MACs, parameters or latency of the networks of a space, each arch once.

    Args:
        measure: which of them.
        space: of the archs.
        input_shape: of one picture, (channels, height, width).

    Raises:
        StrategyError: no such measure.
    """

    def __init__(self, measure: str, space: ModelSpace, input_shape: tuple[int, ...]) -> None:
        if measure not in get_args(Measure):
            raise StrategyError(f"profiler = {measure!r} is not one of {get_args(Measure)}, nor a function of an arch")
        self._measure = measure
        self._space = space
        self._input_shape = input_shape
        self._known: dict[str, float] = {}

    def __call__(self, arch: Arch) -> float:
        key = json.dumps(self._space.canonical(arch))
        if key not in self._known:
            self._known[key] = self._look(arch)
        return self._known[key]

    def _look(self, arch: Arch) -> float:
        if self._measure == "latency_ms":
            return _latency_ms(self._space, arch, self._input_shape)
        with torch.device("meta"):
            model = self._space.freeze(arch)
        if self._measure == "params":
            return float(sum(parameter.numel() for parameter in model.parameters()))
        return float(complexity(model, self._input_shape).macs)


def cost_of(profiler: Measure | ArchCost | Any, space: ModelSpace, input_shape: tuple[int, ...]) -> ArchCost:
    """A measure by name, or a function of an arch as it is."""
    return MeasuredCost(profiler, space, input_shape) if isinstance(profiler, str) else profiler


def _latency_ms(space: ModelSpace, arch: Arch, input_shape: tuple[int, ...]) -> float:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = space.freeze(arch).eval()
        x = torch.randn(1, *input_shape)
        for _ in range(3):
            model(x)
        seconds = []
        for _ in range(15):
            start = time.perf_counter()
            model(x)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


class CostTable:
    """A cost for each candidate, fitted to archs of known cost: what is expected under probabilities has a gradient.

    The cost of an arch is taken to be a constant plus one number for each of its answers; an answer counts only where its
    choice matters. The numbers come from ridge regression over random archs. That is exact where candidates cost the same
    whatever the rest is (NasBench201, ProxylessNAS); where widths multiply it is an approximation, and `r2` says how good.

    Args:
        space: of the archs.
        cost: known cost of an arch.
        rng: draws them.
        n_archs: None takes three for each number to find, 64 at least and 512 at most.

    Attributes:
        r2: share of the variance that is explained, on archs that were not fitted.
        n_archs: that were fitted.
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
        """What was found: measured anew, latency would give other numbers."""
        return {"numbers": self._numbers, "scale": self._scale, "r2": self.r2}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes what `state_dict` gave, of the same space."""
        self._numbers, self._scale, self.r2 = state_dict["numbers"], state_dict["scale"], state_dict["r2"]

    def estimate(self, arch: Mapping[str, Any]) -> float:
        """Of one arch, by the table."""
        return float(self._row(self._space.canonical(arch)) @ self._numbers) * self._scale

    def expected(self, probabilities: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The mean over archs whose answers are drawn independently, with a graph.

        Args:
            probabilities: label -> (candidates,); labels that are missing have a single answer.
        """
        total = torch.as_tensor(float(self._numbers[0]))
        chances: dict[str, torch.Tensor] = {}
        for choice in self._space.gates_first:
            p = probabilities.get(choice.label, torch.ones(len(choice.candidates)))
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
    """How likely the choice matters, its gates being independent of each other."""
    misses = torch.ones(())
    for alternative in choice.conditions:
        holds = torch.ones(())
        for label, values in alternative:
            places = [choices[label].candidates.index(value) for value in values]
            holds = holds.to(chances[label].device) * chances[label][places].sum()
        misses = misses.to(holds.device) * (1 - holds)
    return 1 - misses


def _ridge(rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Least squares, with so little weight on the size of the numbers that it only decides what the archs leave open."""
    gram = rows.T @ rows
    return torch.linalg.solve(gram + 1e-4 * torch.eye(len(gram), dtype=gram.dtype), rows.T @ values)
