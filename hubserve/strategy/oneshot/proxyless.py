"""`Proxyless` (ProxylessNAS), a one-shot strategy that computes at most two candidates of a choice at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from hubserve.data.loaders import Batch
from hubserve.errors import SupernetError
from hubserve.space import Choice, KOf, ModelSpace
from hubserve.strategy.oneshot.differentiable import DifferentiableSearch, DifferentiableStrategy
from hubserve.supernet import Blend
from hubserve.training.evaluator import TrainingEvaluator


@dataclass(frozen=True)
class Proxyless(DifferentiableStrategy):
    """Trains the weights on one arch at a time, and the logits by comparing two candidates of each choice.

    Cai et al. 2019, "ProxylessNAS" (https://arxiv.org/abs/1812.00332, section 3.2; reference code
    https://github.com/mit-han-lab/proxylessnas). In a step on the logits, two candidates of each choice are drawn by their
    probabilities, and one of the two is made active: its gate is 1, the other's 0. Both are computed; the gradient of the loss
    with respect to the two gates gives that of their logits. All other logits stay unchanged, and the two are shifted by one
    number so that the probabilities of all other candidates stay the same, too; but with a `penalty`, all logits change.

    For a choice of numbers, the two candidates are two masks of one network. For a choice of any subset of inputs, each input
    has its own gate, and the inputs with gate 1 are computed.

    The attributes are those of `DifferentiableStrategy`.

    Raises:
        StrategyError: A value is not allowed.
        SupernetError (when run): A choice asks for a fixed number of inputs above 1, which two gates cannot represent.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"drop_path_prob"})

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
        """Returns a blend for each blended label, with the gates of the candidates that are computed in one pass."""
        probabilities = self.net.archs.probabilities(self.net.blended)
        return {label: draw_gates(self.net.space.choices[label], p.detach()) for label, p in probabilities.items()}

    def weight_step(self, x: Any, target: Any) -> float:
        loss, leaves = self.weights.network_loss(self.net.archs.draw_arch(self.rng), x, target)
        return self.weights.step(loss, leaves)


def draw_gates(choice: Choice, probabilities: torch.Tensor) -> Blend:
    """Returns a blend whose weights are gates (n,) drawn by `probabilities` (n,): 1 for active candidates, 0 for the others.

    Two candidates are computed, of which one is active. For a choice of any subset of inputs, each drawn input is computed and
    active.
    """
    held, active = choice.relaxation.draw_gates(probabilities)
    gates = torch.zeros_like(probabilities)
    gates[active] = 1.0
    return Blend(gates.requires_grad_(), tuple(held))


def gate_gradient(choice: Choice, logits: torch.Tensor, of_gates: torch.Tensor, held: tuple[int, ...]) -> torch.Tensor:
    """Returns the gradient of the logits (n,), computed from that of the gates (n,): the paper's equation 4.

    It is 0 for candidates that were not computed. With the gates g, and with the probabilities p given by the logits a of the
    computed candidates alone: dL/da_i = sum over j of dL/dg_j dp_j/da_i.

    Args:
        choice: The choice of the logits.
        logits: The logits.
        of_gates: The gradient of the loss with respect to the gates.
        held: Indices of the candidates that were computed.
    """
    places = list(held)
    gradient = torch.zeros_like(logits)
    of_held = logits[places].detach().requires_grad_()
    (gradient[places],) = torch.autograd.grad(choice.relaxation.probabilities(of_held), of_held, of_gates[places])
    return gradient


def keep_others(choice: Choice, logits: torch.Tensor, before: torch.Tensor, held: tuple[int, ...]) -> None:
    """Changes `logits` (n,) in place so that candidates that were not computed keep their logits and probabilities.

    The logits of the candidates that were computed are shifted by one number to achieve this; for a choice of any subset of
    inputs they stay as they are.

    Args:
        choice: The choice of the logits.
        logits: The logits after a step.
        before: The logits before the step.
        held: Indices of the candidates that were computed.
    """
    places = list(held)
    moved = logits[places].clone()
    logits.copy_(before)
    logits[places] = choice.relaxation.keep_total(moved, before[places])
