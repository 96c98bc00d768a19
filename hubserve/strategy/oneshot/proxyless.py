"""ProxylessNAS: two candidates in memory, one of them active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.errors import SupernetError
from hubserve.space import Choice, KOf, ModelSpace
from hubserve.strategy.oneshot.differentiable import DifferentiableSearch, DifferentiableStrategy
from hubserve.strategy.oneshot.weight_training import train_network
from hubserve.supernet import Blend
from hubserve.training.evaluator import TrainingEvaluator


@dataclass(frozen=True)
class Proxyless(DifferentiableStrategy):
    """Weights learn on one path at a time, logits by comparing two candidates of each choice.

    Cai et al. 2019, "ProxylessNAS" (https://arxiv.org/abs/1812.00332, section 3.2; reference code
    https://github.com/mit-han-lab/proxylessnas). In a step on the logits, two candidates of each choice are drawn by their
    probabilities, and one of the two is active. Both run; the gradient of the loss with respect to the two gates, 1 and 0,
    says how the logits of the two should change. The logits of the others stay as they are, and the two are shifted together
    so that the probabilities of the others stay the same, too.

    Of a choice of numbers, the two candidates are two masks of one network. Where any subset of inputs may be chosen, each
    input has a gate of its own, and those that are open run.

    The attributes are those of `DifferentiableStrategy`.

    Raises:
        StrategyError: A value is not allowed.
        SupernetError (when run): A choice takes more than one, but a fixed number, of inputs: two gates cannot say which.
    """

    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> ProxylessSearch:
        return ProxylessSearch(space, evaluator, self, seed=seed, total_steps=total_steps)


class ProxylessSearch(DifferentiableSearch):
    """The search of `Proxyless`; the arguments are those of `DifferentiableSearch`."""

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
        choices, logits = self.net.space.choices, self.net.archs.logits
        before = {label: each.detach().clone() for label, each in logits.items()}
        blends = self.draw_blends()
        loss = self.evaluator.loss(self.net(val[0], blends, sampled), val[1])
        total = self.total_loss(loss, sampled)
        gradients, of_gates = self.gradients(total, {label: blend.weights for label, blend in blends.items()})
        for label, gradient in of_gates.items():
            if gradient is not None:
                own = gate_gradient(choices[label], before[label], gradient, blends[label].held)
                others = gradients[label]
                gradients[label] = own if others is None else own + others
        self.step_logits(gradients)
        if self.strategy.penalty is None:
            # A penalty moves all probabilities on purpose.
            for label, blend in blends.items():
                keep_others(choices[label], logits[label].detach(), before[label], blend.held)
        return float(loss.detach())

    def draw_blends(self) -> dict[str, Blend]:
        """Label -> the gates of the candidates that take part in one pass, for the blended labels."""
        probabilities = self.net.archs.probabilities(self.net.blended)
        return {label: draw_gates(self.net.space.choices[label], p.detach()) for label, p in probabilities.items()}

    def weight_step(self, x: Any, target: Any) -> float:
        loss, leaves = train_network(self.supernet, self.net.archs.draw_arch(self.rng), self.evaluator, x, target)
        return self.weights.step(loss, leaves)


def draw_gates(choice: Choice, probabilities: torch.Tensor) -> Blend:
    """Gates (n,) drawn by `probabilities` (n,): 1 for active candidates, 0 for the others.

    Two candidates run, of which one is active; of a choice of any subset, each input that is drawn runs and is active.
    """
    held, active = choice.relaxation.draw_gates(probabilities)
    gates = torch.zeros_like(probabilities)
    gates[active] = 1.0
    return Blend(gates.requires_grad_(), tuple(held))


def gate_gradient(choice: Choice, logits: torch.Tensor, of_gates: torch.Tensor, held: tuple[int, ...]) -> torch.Tensor:
    """The gradient of the logits (n,) from that of the gates (n,): the paper's equation 4.

    Candidates that are not held have none.

    With the gates g, and the probabilities p that the held logits a alone give: dL/da_i = sum over j of dL/dg_j dp_j/da_i.
    """
    places = list(held)
    gradient = torch.zeros_like(logits)
    of_held = logits[places].detach().requires_grad_()
    (gradient[places],) = torch.autograd.grad(choice.relaxation.probabilities(of_held), of_held, of_gates[places])
    return gradient


def keep_others(choice: Choice, logits: torch.Tensor, before: torch.Tensor, held: tuple[int, ...]) -> None:
    """Changes `logits` (n,) so that candidates that did not run keep their probability.

    Their logits are restored, and those of the candidates that ran are shifted together.

    Args:
        choice: The choice of the logits.
        logits: The logits after a step.
        before: The logits before it.
        held: Indices of the candidates that ran.
    """
    places = list(held)
    moved = logits[places].clone()
    logits.copy_(before)
    logits[places] = choice.relaxation.keep_total(moved, before[places])
