"""`RandomOneShot`, the one-shot strategy that trains random archs: one in each step, or several by the sandwich rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from hubserve.errors import StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.arch_costs import shape_of
from hubserve.strategy.oneshot.base import OneShotStrategy
from hubserve.strategy.oneshot.cost_limits import RangeFilter, make_filter
from hubserve.strategy.oneshot.search import OneShotProgress, OneShotSearch
from hubserve.strategy.settings_checks import at_least, probability
from hubserve.supernet import Supernet
from hubserve.supernet.extreme_archs import largest_arch, smallest_arch
from hubserve.supernet.residual_start import start_residuals_at_zero
from hubserve.supernet.sandwich import Sandwich
from hubserve.training.evaluator import TrainingEvaluator

MAX_DRAWS = 100
"""Number of archs in a row that a filter may refuse before the search raises an error; as in NNI."""


@dataclass(frozen=True)
class RandomOneShot(OneShotStrategy):
    """Trains random archs on the shared weights of a supernet: one in each step, or several by the sandwich rule.

    Without `sandwich` it is Guo et al. 2020, "Single Path One-Shot Neural Architecture Search with Uniform Sampling"
    (https://arxiv.org/abs/1904.00420, section 3). With it, networks cut from the supernet can be used as they are, without
    further training: BigNAS (Yu et al. 2020, https://arxiv.org/abs/2003.11142) and, with random archs drawn uniformly as here,
    AttentiveNAS (Wang et al. 2021, https://arxiv.org/abs/2011.09011). The rules of a step are those of `Sandwich`. Unlike in
    BigNAS, the archs of a step take a step of the optimizer each and learn from the targets as well: where there are few
    epochs, this makes all archs better (docs/decisions/0044).

    The result is a supernet without an arch; any multi-trial strategy can then search it with `SupernetEvaluator`. Supports
    every space. Answers are drawn uniformly, or by the `weights` of a choice that has some (as in NasBench101).

    Attributes:
        filter: Says which archs may be drawn: a function of an arch, a `RangeFilter`, or a dict of its attributes; None allows
            all. The largest and the smallest arch of `sandwich` are trained in any case.
        sandwich: Number of random archs, at least 0, that each step trains besides the largest and the smallest arch of the
            space (see `largest_arch`). None trains a single random arch in each step. BigNAS and AttentiveNAS have 2.
        distill: What, with `sandwich`, all archs but the largest learn: the share of the loss, in [0, 1], that is of the output
            of the largest one; the rest is of the targets. True is 1, as in BigNAS, False is 0.
        separate_steps: Whether, with `sandwich`, each arch takes a step of the optimizer of its own; otherwise they take one
            together, with the mean of their gradients. The schedule of the learning rate goes on once for each batch.
        zero_residuals: Whether, with `sandwich`, residual blocks begin as the identity (see `start_residuals_at_zero`).
        gradient_clip_val: Largest norm of all gradients together; 0 does not clip, None uses the evaluator's.

    Raises:
        StrategyError: `filter` is a dict that is not valid, `sandwich` is not a number of at least 0, or `distill` is not in
            [0, 1]; or, when run, the filter refused `MAX_DRAWS` archs in a row.
        EvaluatorError: When run: `distill` is not 0 and the evaluator has no `distillation_loss`.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"drop_path_prob", "devices"})

    filter: RangeFilter | Mapping[str, Any] | Callable[[Arch], bool] | None = None
    sandwich: int | None = field(default=None, kw_only=True)
    distill: float = field(default=0.5, kw_only=True)
    separate_steps: bool = field(default=True, kw_only=True)
    zero_residuals: bool = field(default=True, kw_only=True)
    gradient_clip_val: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "filter", make_filter(self.filter))
        at_least(self, 0, "gradient_clip_val")
        probability(self, "distill")
        if self.sandwich is not None and (type(self.sandwich) is not int or self.sandwich < 0):
            raise StrategyError(
                f"RandomOneShot: sandwich = {self.sandwich!r} must be at least 0, or None for one arch in each step"
            )

    def checkpoint_settings(self) -> dict[str, Any]:
        if self.sandwich is None:
            return {}
        return {"sandwich": self.sandwich, "distill": float(self.distill), "separate_steps": self.separate_steps}

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
        self._distill, self._separate_steps = float(strategy.distill), strategy.separate_steps
        self._sandwich = None if strategy.sandwich is None else self._make_sandwich(strategy.sandwich)
        if self._sandwich is not None and strategy.zero_residuals:
            start_residuals_at_zero(supernet)

    def _make_sandwich(self, random_networks: int) -> Sandwich:
        largest, smallest = largest_arch(self._space), smallest_arch(self._space)
        return Sandwich(self.supernet, largest, smallest, random_networks, draw=lambda rng: self.draw())

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
        if self._sandwich is not None:
            return {"train_loss": self._sandwich_step(self._sandwich, x, target)}
        loss, leaves = self.weights.network_loss(self.draw(), x, target)
        return {"train_loss": self.weights.step(loss, leaves)}

    def _sandwich_step(self, sandwich: Sandwich, x: Any, target: Any) -> float:
        """Trains the networks of a step; returns the loss of the largest one."""

        def of_smaller(output: Any, teacher: Any) -> torch.Tensor:
            if self._distill == 0:
                return self.evaluator.loss(output, target)
            soft = self.evaluator.distillation_loss(output, teacher)
            return soft if self._distill == 1 else torch.lerp(self.evaluator.loss(output, target), soft, self._distill)

        self.supernet.train()
        self.weights.set_drop_path(self.supernet.subnet(sandwich.largest).network)
        loss = sandwich.add_gradients(
            x,
            (lambda output: self.evaluator.loss(output, target), of_smaller),
            self.rng,
            backward=self.weights.backward,
            autocast=self.weights.autocast,
            after_network=self.weights.step_shared if self._separate_steps else None,
        )
        value = self.weights.checked(loss)
        if not self._separate_steps:
            self.weights.step_shared()
        self.weights.end_batch()
        return value

    def arch(self) -> Arch | None:
        return None
