"""What a search asks of an evaluator: a score for an arch, and, to train shared weights, the parts of a training loop."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from torch import nn

from hubserve.data.loaders import Batch
from hubserve.space import Arch, ModelSpace

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """One number that a search improves.

    Attributes:
        name: key of the number among an evaluator's scores.
        direction: whether larger or smaller is better.
    """

    name: str = "default"
    direction: Direction = "maximize"


@dataclass(frozen=True)
class Trial:
    """What an evaluator may know of the trial it works for.

    Attributes:
        number: of the trial in its study; -1 outside of a study.
        seed: for all that is random in the evaluation.
        folder: for files that outlive the trial, such as trained weights; None where nobody keeps them.
        experiment: name of the experiment; "standalone" outside of one.
    """

    number: int = -1
    seed: int = 0
    folder: Path | None = None
    experiment: str = "standalone"

    def report(self, step: int, value: float) -> None:
        """Tells an intermediate value of the first objective; raises TrialPruned where the trial is not worth going on with."""


class Evaluator(abc.ABC):
    """Scores archs.

    Attributes:
        objectives: what a search improves, the first one first; each is a key of what `evaluate` returns.
    """

    objectives: tuple[Objective, ...] = (Objective(),)

    @abc.abstractmethod
    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        """Scores of `arch` by name: all objectives, and whatever else is worth keeping.

        Any exception means that this trial failed; TrialPruned, that it was ended early.
        """


@dataclass(frozen=True)
class SharedTraining:
    """What an evaluator's settings ask of a one-shot strategy, which trains shared weights in a loop of its own.

    Attributes:
        device: where to train; None takes the GPU where there is one.
        gradient_clip_val: largest norm of all gradients together, where the strategy has none of its own; None does not clip.
        deterministic: refuse operations that may differ from run to run.
        unmet: settings that were set and have no meaning there, name -> value; a strategy refuses them.
    """

    device: torch.device | None = None
    gradient_clip_val: float | None = None
    deterministic: bool = False
    unmet: Mapping[str, Any] = field(default_factory=dict)


class TrainingEvaluator(Evaluator):
    """An evaluator that trains the network it scores; its parts also train supernets.

    Attributes:
        max_epochs: passes over the training data.
    """

    max_epochs: int

    @abc.abstractmethod
    def train_batches(self, seed: int) -> Iterable[Batch]:
        """One pass over the training data; `len()` of it is known. The order is that of the seed."""

    @abc.abstractmethod
    def val_batches(self) -> Iterable[Batch]:
        """One pass over the validation data, in a fixed order."""

    def mixed_val_batches(self, seed: int) -> Iterable[Batch]:
        """One pass over the validation data in the order of the seed: from these a one-shot strategy learns archs.

        A list of batches is shuffled here; an evaluator whose batches come otherwise, perhaps class by class, does it itself.
        """
        batches = self.val_batches()
        return Random(seed).sample(batches, len(batches)) if isinstance(batches, Sequence) else batches

    def shared_training(self) -> SharedTraining:
        """What is asked of a training of shared weights, beside what the other methods give."""
        return SharedTraining()

    @abc.abstractmethod
    def loss(self, output: Any, target: Any) -> torch.Tensor:
        """A scalar; `output` is what the network gave, in training perhaps a pair (logits, auxiliary logits)."""

    @abc.abstractmethod
    def make_optimizer(self, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer of the weights."""

    @abc.abstractmethod
    def make_schedule(self, optimizer: torch.optim.Optimizer, total_steps: int) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Stepped after every step of the optimizer; None keeps the learning rate."""

    @abc.abstractmethod
    def fit(self, model: nn.Module, trial: Trial | None = None) -> dict[str, float]:
        """Trains `model` in place and returns its scores on the validation data."""

    @abc.abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Scores of a trained network on the validation data; `model` may be any callable module, a view of a supernet too."""
