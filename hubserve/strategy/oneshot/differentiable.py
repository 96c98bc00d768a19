"""The base classes of strategies that learn a probability for each candidate by gradient descent."""

import abc
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.data.nested_batches import moved
from hubserve.errors import StrategyError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.arch_costs import cost_of, shape_of
from hubserve.strategy.oneshot.base import OneShotStrategy
from hubserve.strategy.oneshot.cost_limits import Penalty, make_penalty
from hubserve.strategy.oneshot.cost_table import CostTable
from hubserve.strategy.oneshot.search import OneShotProgress, OneShotSearch
from hubserve.strategy.settings_checks import at_least
from hubserve.supernet import BlendedSupernet
from hubserve.training.evaluator import TrainingEvaluator

FAIR_R2 = 0.8
"""Coefficient of determination of a penalty's `CostTable` below which it is logged as a warning."""

log = logging.getLogger(__name__)

Gradients = dict[str, torch.Tensor | None]
"""Maps each label to its gradient; None if the loss does not depend on it."""


@dataclass(frozen=True)
class DifferentiableStrategy(OneShotStrategy):
    """The settings that differentiable strategies have in common, with NNI's names.

    Attributes:
        arc_learning_rate: Learning rate of the logits, above 0. Their optimizer is Adam with betas (0.5, 0.999) and weight
            decay 1e-3, as in the code of DARTS.
        gradient_clip_val: Largest norm of all gradients of the weights together; 0 does not clip, None uses the evaluator's.
        log_prob_every_n_step: Number of steps, at least 1, after which the history records new probabilities; the rows between
            repeat the last ones.
        warmup_epochs: Number of epochs at the start, at least 0, in which only the weights are trained.
        penalty: A `Penalty` for the cost of archs, or a dict of its attributes; None adds no penalty to the loss.

    Raises:
        StrategyError: A value is not allowed.
    """

    arc_learning_rate: float = 3e-4
    gradient_clip_val: float | None = None
    log_prob_every_n_step: int = 10
    warmup_epochs: int = 0
    penalty: Penalty | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "penalty", make_penalty(self.penalty))
        if not self.arc_learning_rate > 0:
            raise StrategyError(f"arc_learning_rate = {self.arc_learning_rate} must be above 0")
        at_least(self, 1, "log_prob_every_n_step")
        at_least(self, 0, "warmup_epochs", "gradient_clip_val")


class DifferentiableSearch(OneShotSearch):
    """Base class of searches that alternate steps on the logits and on the weights (Liu et al. 2019, DARTS, algorithm 1).

    The logits are trained on validation batches, the weights on training batches.

    Args:
        space: Any model space.
        evaluator: Computes the losses, and provides the optimizer of the weights.
        strategy: The settings.
        seed: Seed of the weights, the logits and all random draws.
        total_steps: Number of training steps of all epochs together.

    Attributes:
        net: The supernet with the learned logits.
        strategy: The settings.
        held: Number of candidates of each choice that are computed at once in a step on the logits; None computes all.
    """

    held: int | None = None

    def __init__(
        self, space: ModelSpace, evaluator: TrainingEvaluator, strategy: DifferentiableStrategy, *, seed: int, total_steps: int
    ) -> None:
        self.net = BlendedSupernet(space, seed=seed)
        clip = strategy.gradient_clip_val
        super().__init__(self.net.supernet, evaluator, seed=seed, total_steps=total_steps, gradient_clip_val=clip)
        self.strategy = strategy
        self._penalty = make_penalty(strategy.penalty)
        self._steps = 0
        self._baseline: float | None = None
        self._noted: OneShotProgress = {}
        self._table: CostTable | None = None
        self.arch_optimizer = torch.optim.Adam(
            self.net.archs.parameters(), strategy.arc_learning_rate, betas=(0.5, 0.999), weight_decay=1e-3
        )

    def prepare(self, x: Any) -> None:
        if self.net.archs.logits:
            self.net.prove(moved(x, torch.device("cpu")))
        self.refuse()
        if self._penalty is not None:
            cost = cost_of(self._penalty.profiler, self.net.space, shape_of(x))
            self._table = CostTable(self.net.space, cost, Random(self._seed))
            self.cost_r2 = self._table.r2
            log.log(
                logging.INFO if self.cost_r2 >= FAIR_R2 else logging.WARNING,
                "the penalty uses a table of costs with r2 = %.3f on archs that it was not fitted to",
                self.cost_r2,
            )

    def activation_bytes(self, x: Any) -> int:
        return self.net.activation_bytes(x, self.held)

    def refuse(self) -> None:
        """Raises SupernetError if the strategy does not support a choice of the space; the default supports all."""

    def step(self, x: Any, target: Any) -> OneShotProgress:
        self.net.train()
        row: OneShotProgress = {}
        if self.epoch >= self.strategy.warmup_epochs and self.net.archs.logits:
            row["val_loss"] = self.arch_step((x, target), next(self.val_batches))
        row = {"train_loss": self.weight_step(x, target), **row}
        if self._steps % self.strategy.log_prob_every_n_step == 0:
            self._noted = self._probabilities_and_entropies()
        self._steps += 1
        return {**row, **self._noted}

    @abc.abstractmethod
    def arch_step(self, train: Batch, val: Batch) -> float:
        """Takes one step on the logits, and returns the validation loss.

        Args:
            train: A training batch (inputs, targets).
            val: A validation batch (inputs, targets).
        """

    @abc.abstractmethod
    def weight_step(self, x: Any, target: Any) -> float:
        """Takes one step on the weights with a batch of inputs `x` and targets `target`, and returns the training loss."""

    def total_loss(self, loss: torch.Tensor, sampled: Mapping[str, Any]) -> torch.Tensor:
        """Returns `loss` with the penalty and, if answers were sampled, plus a term by which the logits of these learn.

        With the loss L without the penalty, its running mean b (at first L, then updated to 0.9 b + 0.1 L) and the log
        probability log p of the `sampled` answers, this term is (L - b) log p: its gradient is the score function estimate
        (Williams 1992, REINFORCE). Use only the gradient of the result; its value has no meaning.
        """
        total = loss
        if self._table is not None and self._penalty is not None:
            expected = self._table.expected(self.net.archs.probabilities())
            total = self._penalty.apply(loss, expected.to(loss.device))
        if sampled:
            value = float(loss.detach())
            baseline = value if self._baseline is None else self._baseline
            total = total + (value - baseline) * self.net.archs.log_probability(sampled).to(loss.device)
            self._baseline = 0.9 * baseline + 0.1 * value
        return total

    def step_logits(self, gradients: Gradients) -> None:
        """Takes one step of the logits' optimizer with `gradients` (label -> gradient, None for none)."""
        for label, logits in self.net.archs.logits.items():
            logits.grad = gradients.get(label)
        self.arch_optimizer.step()
        self.arch_optimizer.zero_grad()

    def gradients(self, loss: torch.Tensor, gates: Mapping[str, torch.Tensor] | None = None) -> tuple[Gradients, Gradients]:
        """Returns the gradients of `loss` with respect to the logits, and those with respect to `gates`, both by label."""
        logits, others = self.net.archs.logits, gates or {}
        if not loss.requires_grad:
            return dict.fromkeys(logits), dict.fromkeys(others)
        found = torch.autograd.grad(loss, [*logits.values(), *others.values()], allow_unused=True)
        return (dict(zip(logits, found[: len(logits)], strict=True)), dict(zip(others, found[len(logits) :], strict=True)))

    def arch(self) -> Arch:
        return self.net.archs.arch()

    def _probabilities_and_entropies(self) -> OneShotProgress:
        probabilities = {label: p.detach().cpu() for label, p in self.net.archs.probabilities().items()}
        choices = self.net.space.choices
        return {
            "probabilities": {
                label: dict(zip(map(str, choices[label].candidates), p.tolist(), strict=True))
                for label, p in probabilities.items()
            },
            "entropy": {label: choices[label].entropy(p) for label, p in probabilities.items()},
        }

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "logits": {label: logits.detach() for label, logits in self.net.archs.logits.items()},
            "arch_optimizer": self.arch_optimizer.state_dict(),
            "steps": self._steps,
            "baseline": self._baseline,
            "noted": self._noted,
            "costs": None if self._table is None else self._table.state_dict(),
        }

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        for label, logits in self.net.archs.logits.items():
            logits.detach().copy_(state["logits"][label])
        self.arch_optimizer.load_state_dict(state["arch_optimizer"])
        self._steps, self._baseline = state["steps"], state["baseline"]
        self._noted = dict(state["noted"])
        if self._table is not None and state["costs"] is not None:
            self._table.load_state_dict(state["costs"])
            self.cost_r2 = self._table.r2
