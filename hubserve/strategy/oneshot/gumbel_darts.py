"""`GumbelDARTS`, the variant of `DARTS` in which the weights of the candidates are drawn from a Gumbel softmax."""

from __future__ import annotations

from dataclasses import dataclass, field

from hubserve.errors import StrategyError
from hubserve.space import ModelSpace
from hubserve.strategy.oneshot.darts import DartsSearch
from hubserve.strategy.oneshot.differentiable import DifferentiableStrategy
from hubserve.supernet import Blend
from hubserve.training.evaluator import TrainingEvaluator


@dataclass(frozen=True)
class GumbelDARTS(DifferentiableStrategy):
    """DARTS in which the weights of the candidates are drawn from a Gumbel softmax in each step.

    As the temperature decreases, the drawn weights approach those of single archs.

    Xie et al. 2019, "SNAS" (https://arxiv.org/abs/1812.09926), and Wu et al. 2019, "FBNet" (https://arxiv.org/abs/1812.03443).
    For a choice of any subset of inputs, the weight of each input is the sigmoid of its logit plus logistic noise.

    All other attributes are those of `DifferentiableStrategy`.

    Attributes:
        temperature: (first, last), both above 0: the temperature decreases linearly, epoch by epoch, from the first epoch's to
            the last epoch's. A single number is the temperature of all epochs.

    Raises:
        StrategyError: A value is not allowed.
    """

    temperature: tuple[float, float] | float = field(default=(1.0, 0.33), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        first, last = self._ends
        if not (first > 0 and last > 0):
            raise StrategyError(f"GumbelDARTS: temperature = {self.temperature} must be above 0")

    def temperature_at(self, epoch: int, epochs: int) -> float:
        """Returns the temperature of epoch number `epoch`, counted from 0, of `epochs` in total."""
        first, last = self._ends
        return first + (last - first) * epoch / max(1, epochs - 1)

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> GumbelSearch:
        return GumbelSearch(space, evaluator, self, seed=seed, total_steps=total_steps)

    @property
    def _ends(self) -> tuple[float, float]:
        given = self.temperature
        first, last = given if isinstance(given, (tuple, list)) else (given, given)
        return float(first), float(last)


class GumbelSearch(DartsSearch):
    """The search of `GumbelDARTS`; the arguments are those of `DifferentiableSearch`."""

    strategy: GumbelDARTS

    def blends(self) -> dict[str, Blend]:
        temperature = self.strategy.temperature_at(self.epoch, self.evaluator.max_epochs)
        choices, blended = self.net.space.choices, self.net.blended
        return {
            label: Blend.all_of(choices[label].relaxation.draw_relaxed(logits, temperature))
            for label, logits in self.net.archs.logits.items()
            if label in blended
        }
