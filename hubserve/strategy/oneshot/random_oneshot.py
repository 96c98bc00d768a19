"""`RandomOneShot`, the one-shot strategy that trains a random arch in each step (single path one-shot)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hubserve.errors import StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.arch_costs import shape_of
from hubserve.strategy.oneshot.base import OneShotStrategy
from hubserve.strategy.oneshot.cost_limits import RangeFilter, make_filter
from hubserve.strategy.oneshot.search import OneShotProgress, OneShotSearch
from hubserve.strategy.oneshot.weight_training import train_network
from hubserve.supernet import Supernet
from hubserve.training.evaluator import TrainingEvaluator

MAX_DRAWS = 100
"""Number of archs in a row that a filter may refuse before the search raises an error; as in NNI."""


@dataclass(frozen=True)
class RandomOneShot(OneShotStrategy):
    """Draws a random arch in each training step and trains only its network, on the shared weights of a supernet.

    Guo et al. 2020, "Single Path One-Shot Neural Architecture Search with Uniform Sampling" (https://arxiv.org/abs/1904.00420,
    section 3). The result is a supernet without an arch; any multi-trial strategy can then search it with `SupernetEvaluator`.
    Supports every space. Answers are drawn uniformly, or by the `weights` of a choice that has some (as in NasBench101).

    Attributes:
        filter: Says which archs may be drawn: a function of an arch, a `RangeFilter`, or a dict of its attributes; None allows
            all.
        gradient_clip_val: Largest norm of all gradients together; None uses the evaluator's.

    Raises:
        StrategyError: `filter` is a dict that is not valid; or, when run, the filter refused `MAX_DRAWS` archs in a row.
    """

    filter: RangeFilter | Mapping[str, Any] | Callable[[Arch], bool] | None = None
    gradient_clip_val: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "filter", make_filter(self.filter))

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> SinglePathSearch:
        return SinglePathSearch(space, evaluator, self, seed=seed, total_steps=total_steps)


class SinglePathSearch(OneShotSearch):
    """The search of `RandomOneShot`.

    Args:
        space: Any model space.
        evaluator: Computes the loss, and provides the optimizer of the weights.
        strategy: The settings.
        seed: Seed of the weights and of the drawn archs.
        total_steps: Number of training steps of all epochs together.
    """

    def __init__(
        self, space: ModelSpace, evaluator: TrainingEvaluator, strategy: RandomOneShot, *, seed: int, total_steps: int
    ) -> None:
        supernet, clip = Supernet(space, seed=seed), strategy.gradient_clip_val
        super().__init__(supernet, evaluator, seed=seed, total_steps=total_steps, gradient_clip_val=clip)
        self._space = space
        self._filter = make_filter(strategy.filter)
        self._accepts: Callable[[Arch], bool] = lambda arch: True

    def prepare(self, x: Any) -> None:
        if isinstance(self._filter, RangeFilter):
            self._accepts = self._filter.bound(self._space, () if callable(self._filter.profiler) else shape_of(x))
        elif self._filter is not None:
            self._accepts = self._filter

    def draw(self) -> Arch:
        """Returns a random arch that the filter accepts, for the next training step.

        Raises:
            StrategyError: The filter refused `MAX_DRAWS` archs in a row.
        """
        for _ in range(MAX_DRAWS):
            arch = self._space.random(self.rng)
            if self._accepts(arch):
                return arch
        raise StrategyError(
            f"RandomOneShot: the filter refused {MAX_DRAWS} archs in a row; widen it: paths are drawn uniformly, and few are "
            "inside"
        )

    def step(self, x: Any, target: Any) -> OneShotProgress:
        loss, leaves = train_network(self.supernet, self.draw(), self.evaluator, x, target)
        return {"train_loss": self.weights.step(loss, leaves)}

    def arch(self) -> Arch | None:
        return None
