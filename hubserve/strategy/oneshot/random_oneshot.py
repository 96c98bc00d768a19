"""Single path one-shot: uniform paths through a supernet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.errors import StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.base import OneShotProgress, OneShotSearch, OneShotStrategy
from hubserve.strategy.oneshot.cost_limits import RangeFilter, make_filter, shape_of
from hubserve.strategy.oneshot.weight_training import WeightTraining, train_network
from hubserve.supernet import Supernet
from hubserve.supernet.memory_estimates import weight_bytes
from hubserve.training.evaluator import TrainingEvaluator

MAX_DRAWS = 100
"""Archs that a filter may refuse in a row: NNI's number."""


class RandomOneShot(OneShotStrategy):
    """Each training step draws an arch, every choice uniformly, and trains it alone on the shared weights.

    Guo et al. 2020, "Single Path One-Shot Neural Architecture Search with Uniform Sampling" (https://arxiv.org/abs/1904.00420).
    It ends in a supernet. Any multi-trial strategy then searches that through `SupernetEvaluator`. Defined for every space. A
    space that states a prior for a choice, as NasBench101 does, has it drawn by that.

    Args:
        filter: archs that may be drawn: a function of an arch, or a RangeFilter, for which a dict of its attributes will do.
        gradient_clip_val: largest norm of all gradients together; None takes the evaluator's.

    Raises (when run):
        StrategyError: the filter refused 100 archs in a row.
    """

    def __init__(
        self,
        filter: RangeFilter | Mapping[str, Any] | Callable[[Arch], bool] | None = None,
        *,
        gradient_clip_val: float | None = None,
    ) -> None:
        self.filter = make_filter(filter)
        self.gradient_clip_val = gradient_clip_val

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> SinglePathSearch:
        return SinglePathSearch(space, evaluator, self, seed=seed, total_steps=total_steps)


class SinglePathSearch(OneShotSearch):
    """See RandomOneShot."""

    def __init__(
        self, space: ModelSpace, evaluator: TrainingEvaluator, strategy: RandomOneShot, *, seed: int, total_steps: int
    ) -> None:
        self.supernet = Supernet(space, seed=seed)
        self._space = space
        self._evaluator = evaluator
        self._strategy = strategy
        self._seed = seed
        self._rng = Random(seed)
        self._agrees: Callable[[Arch], bool] = lambda arch: True
        self.weights = WeightTraining(
            self.supernet, evaluator, total_steps=total_steps, gradient_clip_val=strategy.gradient_clip_val
        )

    def prepare(self, x: Any) -> int:
        given = self._strategy.filter
        if isinstance(given, RangeFilter):
            shape = () if callable(given.profiler) else shape_of(x)
            self._agrees = given.bound(self._space, shape)
        elif given is not None:
            self._agrees = given
        activations = self.supernet.activation_bytes(x) if isinstance(x, torch.Tensor) else 0
        return weight_bytes(self.supernet, copies=4) + activations

    def begin(self, epoch: int, val_batches: Iterator[Batch]) -> None:
        self._rng = Random(f"{self._seed}/{epoch}")

    def draw(self) -> Arch:
        """The next path."""
        for _ in range(MAX_DRAWS):
            arch = self._space.random(self._rng)
            if self._agrees(arch):
                return arch
        raise StrategyError(
            f"RandomOneShot: the filter refused {MAX_DRAWS} archs in a row; widen it: paths are drawn uniformly, and few are "
            "inside"
        )

    def step(self, x: Any, target: Any) -> OneShotProgress:
        loss, leaves = train_network(self.supernet, self.draw(), self._evaluator, x, target)
        return {"train_loss": self.weights.step(loss, leaves)}

    def arch(self) -> Arch | None:
        return None

    def state_dict(self) -> dict[str, Any]:
        return self.weights.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.weights.load_state_dict(state_dict)
