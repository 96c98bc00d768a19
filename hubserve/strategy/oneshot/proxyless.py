"""ProxylessNAS: two candidates in memory, one of them active."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.errors import SupernetError
from hubserve.space import Choice, KOf, ModelSpace
from hubserve.strategy.oneshot.cost_limits import Penalty
from hubserve.strategy.oneshot.differentiable import DifferentiableSearch, DifferentiableStrategy
from hubserve.strategy.oneshot.weight_training import train_network
from hubserve.supernet import Blend
from hubserve.training.evaluator import TrainingEvaluator


class Proxyless(DifferentiableStrategy):
    """Weights learn on one path at a time; logits by comparing two candidates of each choice through binary gates.

    Cai et al. 2019, "ProxylessNAS" (https://arxiv.org/abs/1812.00332), section 3.2. In a step on the logits, two candidates of
    each choice are drawn by their probabilities, and one of the two is active. Both run; the gradient of the loss with
    respect to the two gates, 1 and 0, says what the logits of the two should do. The logits of the others stay as they are,
    and the two are shifted together so that the others' probabilities do too.

    Of a choice of numbers, the two candidates are two masks of one network. Where any subset of inputs may be chosen, each
    input has a gate of its own, and those that are open run.

    Args: those of Settings.

    Raises:
        StrategyError: a value is not allowed.
        SupernetError (when run): layers on more than one, but a fixed number, of inputs are to be added: two gates cannot
            tell which of them.
    """

    def __init__(
        self,
        arc_learning_rate: float = 3e-4,
        gradient_clip_val: float | None = None,
        log_prob_every_n_step: int = 10,
        warmup_epochs: int = 0,
        penalty: Penalty | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            arc_learning_rate=arc_learning_rate,
            gradient_clip_val=gradient_clip_val,
            log_prob_every_n_step=log_prob_every_n_step,
            warmup_epochs=warmup_epochs,
            penalty=penalty,
        )

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> ProxylessSearch:
        return ProxylessSearch(space, evaluator, self.settings, seed=seed, total_steps=total_steps)


class ProxylessSearch(DifferentiableSearch):
    """See Proxyless."""

    held = 2

    def refuse(self) -> None:
        for label in sorted(self.net.blended):
            choice = self.net.space.choices[label]
            if isinstance(choice, KOf) and choice.n_chosen > 1:
                raise SupernetError(
                    f"Proxyless compares two candidates, and {label!r} chooses {choice.n_chosen} of {len(choice.candidates)} "
                    "inputs; use DARTS, GumbelDARTS, ENAS or RandomOneShot"
                )

    def arch_step(self, train: Batch, val: Batch) -> float:
        sampled = self.net.sample(self.rng)
        choices, before = self.net.space.choices, {k: v.detach().clone() for k, v in self.net.archs.logits.items()}
        blends = {
            label: draw_gates(choices[label], p.detach())
            for label, p in self.net.archs.probabilities().items()
            if label in self.net.blended
        }
        loss = self.evaluator.loss(self.net(val[0], blends, sampled), val[1])
        total = self.whole_loss(loss, sampled)
        gradients, of_gates = self.gradients(total, {label: blend.weights for label, blend in blends.items()})
        for label, gradient in of_gates.items():
            if gradient is not None:
                own = gate_gradient(choices[label], before[label], gradient, blends[label].held)
                others = gradients[label]
                gradients[label] = own if others is None else own + others
        self.step_logits(gradients)
        if self.settings.penalty is None:
            # A penalty moves all probabilities on purpose.
            for label, blend in blends.items():
                keep_others(choices[label], self.net.archs.logits[label].detach(), before[label], blend.held)
        return float(loss.detach())

    def weight_step(self, x: Any, target: Any) -> float:
        loss, leaves = train_network(self.supernet, self.net.archs.draw_arch(self.rng), self.evaluator, x, target)
        return self.weights.step(loss, leaves)


def draw_gates(choice: Choice, probabilities: torch.Tensor) -> Blend:
    """Two candidates, drawn by their probabilities, and a gate that is 1 for one of them; or one gate for each input."""
    held, active = choice.relaxation.draw_gates(probabilities)
    gates = torch.zeros_like(probabilities)
    gates[active] = 1.0
    return Blend(gates.requires_grad_(), tuple(held))


def gate_gradient(choice: Choice, logits: torch.Tensor, of_gates: torch.Tensor, held: tuple[int, ...]) -> torch.Tensor:
    """Gradient of the logits from that of the gates (equation 4 of the paper), among the candidates that are held."""
    places = list(held)
    gradient = torch.zeros_like(logits)
    of_held = logits[places].detach().requires_grad_()
    (gradient[places],) = torch.autograd.grad(choice.relaxation.probabilities(of_held), of_held, of_gates[places])
    return gradient


def keep_others(choice: Choice, logits: torch.Tensor, before: torch.Tensor, held: tuple[int, ...]) -> None:
    """Puts back the logits of candidates that were not held, and shifts the others so that these keep their probabilities."""
    places = list(held)
    moved = logits[places].clone()
    logits.copy_(before)
    logits[places] = choice.relaxation.keep_total(moved, before[places])
