"""DARTS, and its variant with Gumbel noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.errors import StrategyError
from hubserve.space import ModelSpace
from hubserve.strategy.oneshot.cost_limits import Penalty
from hubserve.strategy.oneshot.differentiable import DifferentiableSearch, DifferentiableStrategy, Settings
from hubserve.supernet import Blend
from hubserve.training.evaluator import TrainingEvaluator


class DARTS(DifferentiableStrategy):
    """All candidates at once, weighed by softmax; weights learn on training data, logits on validation data.

    Liu et al. 2019, "DARTS: Differentiable Architecture Search" (https://arxiv.org/abs/1806.09055). The arch is the likeliest
    candidate of each choice, `none` included where it is one. The paper keeps, of all edges into a node, the two strongest;
    here a space asks for a fixed number of inputs, each a choice of its own.

    What cannot be blended (`BlendedSupernet.sampled`) is drawn before each step, and learns by the score function.

    Args:
        arc_learning_rate: see Settings; so the other arguments that are not here.
        order: 1 takes the gradient of the validation loss at the weights as they are. 2 takes it at the weights after one
            plain gradient step on the training batch, with the learning rate of the weights, and through that step: the
            paper's second order, by exact differentiation where its code takes finite differences; it leaves out the
            momentum and weight decay that the code has there.

    Raises:
        StrategyError: a value is not allowed.
    """

    def __init__(
        self,
        arc_learning_rate: float = 3e-4,
        gradient_clip_val: float | None = None,
        log_prob_every_n_step: int = 10,
        warmup_epochs: int = 0,
        penalty: Penalty | Mapping[str, Any] | None = None,
        *,
        order: int = 1,
    ) -> None:
        super().__init__(
            arc_learning_rate=arc_learning_rate,
            gradient_clip_val=gradient_clip_val,
            log_prob_every_n_step=log_prob_every_n_step,
            warmup_epochs=warmup_epochs,
            penalty=penalty,
        )
        if order not in (1, 2):
            raise StrategyError(f"DARTS: order = {order} is not 1 or 2")
        self.order = order

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> DartsSearch:
        return DartsSearch(space, evaluator, self.settings, seed=seed, total_steps=total_steps, order=self.order)


class DartsSearch(DifferentiableSearch):
    """See DARTS."""

    def __init__(
        self,
        space: ModelSpace,
        evaluator: TrainingEvaluator,
        settings: Settings,
        *,
        seed: int,
        total_steps: int,
        order: int = 1,
    ) -> None:
        super().__init__(space, evaluator, settings, seed=seed, total_steps=total_steps)
        self.order = order
        # The gradients of the inner step have gradients of their own, which keep its activations a second time.
        self.copies = 4 if order == 1 else 8

    def blends(self) -> dict[str, Blend]:
        """How the candidates are weighed in one pass."""
        return self.net.blends()

    def arch_step(self, train: Batch, val: Batch) -> float:
        sampled = self.net.sample(self.rng)
        blends = self.blends()
        moved = self._moved(train, blends, sampled) if self.order == 2 else None
        loss = self.evaluator.loss(self.net(val[0], blends, sampled, moved), val[1])
        self.step_logits(self.gradients(self.whole_loss(loss, sampled))[0])
        return float(loss.detach())

    def _moved(self, train: Batch, blends: Mapping[str, Blend], sampled: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """The weights after one step on the training batch, with the graph of that step."""
        leaves = self.net.network(sampled, train[0]).subnet.leaves
        trained = {key: leaf for key, leaf in leaves.items() if leaf.requires_grad}
        loss = self.evaluator.loss(self.net(train[0], blends, sampled), train[1])
        found = torch.autograd.grad(loss, list(trained.values()), create_graph=True, allow_unused=True)
        rate = self.weights.learning_rate
        stepped = {
            key: leaf if gradient is None else leaf - rate * gradient
            for (key, leaf), gradient in zip(trained.items(), found, strict=True)
        }
        return {**leaves, **stepped}

    def weight_step(self, x: Any, target: Any) -> float:
        sampled = self.net.sample(self.rng)
        with torch.no_grad():
            blends = self.blends()
        leaves = self.net.network(sampled, x).subnet.leaves
        return self.weights.step(self.evaluator.loss(self.net(x, blends, sampled), target), leaves)


class GumbelDARTS(DifferentiableStrategy):
    """DARTS whose weights are one draw of a Gumbel softmax each step; as the temperature falls they come near single archs.

    Xie et al. 2019, "SNAS" (https://arxiv.org/abs/1812.09926), and Wu et al. 2019, "FBNet" (https://arxiv.org/abs/1812.03443).

    Args:
        temperature: (first, last): it falls linearly, epoch by epoch, and has the last value in the last epoch. A single
            number stays.

    The other arguments are those of Settings.

    Raises:
        StrategyError: a value is not allowed.
    """

    def __init__(
        self,
        arc_learning_rate: float = 3e-4,
        gradient_clip_val: float | None = None,
        log_prob_every_n_step: int = 10,
        warmup_epochs: int = 0,
        penalty: Penalty | Mapping[str, Any] | None = None,
        *,
        temperature: tuple[float, float] | float = (1.0, 0.33),
    ) -> None:
        super().__init__(
            arc_learning_rate=arc_learning_rate,
            gradient_clip_val=gradient_clip_val,
            log_prob_every_n_step=log_prob_every_n_step,
            warmup_epochs=warmup_epochs,
            penalty=penalty,
        )
        first, last = temperature if isinstance(temperature, (tuple, list)) else (temperature, temperature)
        if not (first > 0 and last > 0):
            raise StrategyError(f"GumbelDARTS: temperature = {temperature} must be above 0")
        self.temperature = (float(first), float(last))

    def temperature_at(self, epoch: int, epochs: int) -> float:
        """In epoch 0, 1, ... of `epochs`."""
        first, last = self.temperature
        return first + (last - first) * epoch / max(1, epochs - 1)

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> GumbelSearch:
        return GumbelSearch(space, evaluator, self, seed=seed, total_steps=total_steps)


class GumbelSearch(DartsSearch):
    """See GumbelDARTS."""

    def __init__(
        self, space: ModelSpace, evaluator: TrainingEvaluator, strategy: GumbelDARTS, *, seed: int, total_steps: int
    ) -> None:
        super().__init__(space, evaluator, strategy.settings, seed=seed, total_steps=total_steps)
        self._strategy = strategy

    def blends(self) -> dict[str, Blend]:
        temperature = self._strategy.temperature_at(self.epoch, self.evaluator.max_epochs)
        blended = {label: logits for label, logits in self.net.archs.logits.items() if label in self.net.blended}
        choices = self.net.space.choices
        return {
            label: Blend.all_of(choices[label].relaxation.draw_relaxed(logits, temperature))
            for label, logits in blended.items()
        }
