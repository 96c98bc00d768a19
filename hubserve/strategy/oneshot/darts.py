"""`DARTS`, the one-shot strategy that runs all candidates weighted by learned probabilities, in first and second order."""

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
    """Runs all candidates at once, weighted by a softmax of learned logits.

    The network's weights are trained on training data, the logits on validation data.

    Liu et al. 2019, "DARTS: Differentiable Architecture Search" (https://arxiv.org/abs/1806.09055, section 2; reference code
    https://github.com/quark0/darts). The result is the most likely candidate of each choice, which may be the candidate `none`.
    The paper keeps the two strongest edges into each node; here a space defines the number of inputs, and each input is a
    choice of its own.

    Choices that cannot be blended (`BlendedSupernet.sampled`) are drawn before each step, and learn by the score function.

    All other attributes are those of `DifferentiableStrategy`.

    Attributes:
        order: 1 or 2. With 1, the gradient of the validation loss is taken at the present weights w. With 2, it is taken at
            w - r g, where g is the gradient of the training loss at w and r the learning rate of the weights, and it includes
            the derivative of this step (the paper's second order, equation 6). Here that derivative is exact; the reference
            code uses finite differences, and its step includes momentum and weight decay, which are left out here.

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
        """Returns the blend of each blended label for one forward pass: all candidates with their weights."""
        return self.net.blends()

    def arch_step(self, train: Batch, val: Batch) -> float:
        sampled = self.net.sample(self.rng)
        blends = self.blends()
        weights = self.weights_for_logits(train, blends, sampled)
        loss = self.evaluator.loss(self.net(val[0], blends, sampled, weights), val[1])
        self.step_logits(self.gradients(self.total_loss(loss, sampled))[0])
        return float(loss.detach())

    def weights_for_logits(self, train: Batch, blends: Mapping[str, Blend], sampled: Arch) -> dict[str, torch.Tensor] | None:
        """Returns the weights, by key, with which the validation loss of the logits is computed.

        None means the supernet's own weights, the first-order approximation. A subclass may return others, e.g. the weights
        after a gradient step.
        """
        return None

    def weight_step(self, x: Any, target: Any) -> float:
        sampled = self.net.sample(self.rng)
        with torch.no_grad():
            blends = self.blends()
        leaves = self.net.network(sampled, x).subnet.leaves
        with self.weights.autocast():
            loss = self.evaluator.loss(self.net(x, blends, sampled), target)
        return self.weights.step(loss, leaves)


class SecondOrderDartsSearch(DartsSearch):
    """The search of `DARTS` with order 2; the arguments are those of `DifferentiableSearch`."""

    # The gradients of the inner step have gradients of their own, which keep its activations a second time.
    copies = 8

    def weights_for_logits(self, train: Batch, blends: Mapping[str, Blend], sampled: Arch) -> dict[str, torch.Tensor]:
        """Returns the weights, by key, after one gradient step on the training batch; gradients flow through that step."""
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
