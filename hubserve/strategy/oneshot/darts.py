"""DARTS, and its variant with Gumbel noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.errors import StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.differentiable import DifferentiableSearch, DifferentiableStrategy
from hubserve.supernet import Blend
from hubserve.training.evaluator import TrainingEvaluator


@dataclass(frozen=True)
class DARTS(DifferentiableStrategy):
    """All candidates run at once, weighed by a softmax of learned logits.

    Weights learn on training data, logits on validation data.

    Liu et al. 2019, "DARTS: Differentiable Architecture Search" (https://arxiv.org/abs/1806.09055, section 2; reference code
    https://github.com/quark0/darts). The arch is the likeliest candidate of each choice, `none` included where it is one. The
    paper keeps the two strongest of all edges into a node; here a space asks for a fixed number of inputs, each a choice of its
    own.

    What cannot be blended (`BlendedSupernet.sampled`) is drawn before each step, and learns by the score function.

    The attributes that are not here are those of `DifferentiableStrategy`.

    Attributes:
        order: 1 or 2. With 1, the gradient of the validation loss is taken at the weights w as they are. With 2, it is taken
            at w - r g through that step, with the gradient g of the training loss at w and the learning rate r of the weights
            (the paper's second order, equation 6): here by exact differentiation, where the reference code takes finite
            differences; momentum and weight decay, which the code has in that step, are left out.

    Raises:
        StrategyError: A value is not allowed.
    """

    order: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise StrategyError(f"DARTS: order = {self.order} is not 1 or 2")

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> DartsSearch:
        search = DartsSearch if self.order == 1 else SecondOrderDartsSearch
        return search(space, evaluator, self, seed=seed, total_steps=total_steps)


class DartsSearch(DifferentiableSearch):
    """The search of `DARTS` with order 1; the arguments are those of `DifferentiableSearch`."""

    def blends(self) -> dict[str, Blend]:
        """Label -> how the candidates are weighed in one pass, for the blended labels."""
        return self.net.blends()

    def arch_step(self, train: Batch, val: Batch) -> float:
        sampled = self.net.sample(self.rng)
        blends = self.blends()
        weights = self.weights_for_logits(train, blends, sampled)
        loss = self.evaluator.loss(self.net(val[0], blends, sampled, weights), val[1])
        self.step_logits(self.gradients(self.total_loss(loss, sampled))[0])
        return float(loss.detach())

    def weights_for_logits(self, train: Batch, blends: Mapping[str, Blend], sampled: Arch) -> dict[str, torch.Tensor] | None:
        """The weights, by parameter name, with which the loss of the logits is computed.

        None means the supernet's own weights: the first-order approximation. A subclass may return others, such as the weights
        after a virtual step.
        """
        return None

    def weight_step(self, x: Any, target: Any) -> float:
        sampled = self.net.sample(self.rng)
        with torch.no_grad():
            blends = self.blends()
        leaves = self.net.network(sampled, x).subnet.leaves
        return self.weights.step(self.evaluator.loss(self.net(x, blends, sampled), target), leaves)


class SecondOrderDartsSearch(DartsSearch):
    """The search of `DARTS` with order 2; the arguments are those of `DifferentiableSearch`."""

    # The gradients of the inner step have gradients of their own, which keep its activations a second time.
    copies = 8

    def weights_for_logits(self, train: Batch, blends: Mapping[str, Blend], sampled: Arch) -> dict[str, torch.Tensor]:
        """Key -> weight after one gradient step on the training batch, with the graph of that step."""
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


@dataclass(frozen=True)
class GumbelDARTS(DifferentiableStrategy):
    """DARTS whose candidates are weighed by one draw of a Gumbel softmax in each step.

    As the temperature falls, the weights come near those of single archs.

    Xie et al. 2019, "SNAS" (https://arxiv.org/abs/1812.09926), and Wu et al. 2019, "FBNet" (https://arxiv.org/abs/1812.03443).
    A choice of any subset of inputs is drawn input by input, by the sigmoid of logistic noise.

    The attributes that are not here are those of `DifferentiableStrategy`.

    Attributes:
        temperature: (first, last), both above 0: the temperature of the first epoch, from which it falls linearly, epoch by
            epoch, to that of the last. A single number is the temperature of all epochs.

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
        """The temperature in an epoch, numbered from 0, of `epochs`."""
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
