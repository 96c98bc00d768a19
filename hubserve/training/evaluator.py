"""`Evaluator` and `TrainingEvaluator`: the interfaces of the objects that score archs in a search."""

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
    """A score that a search improves.

    Attributes:
        name: Key of the score in what `Evaluator.evaluate` returns.
        direction: Whether larger or smaller scores are better.
    """

    name: str = "default"
    direction: Direction = "maximize"


@dataclass(frozen=True)
class Trial:
    """The trial that an evaluation belongs to.

    Attributes:
        number: Number of the trial in its study, from 0; -1 outside of a study.
        seed: Seed of all random numbers in the evaluation.
        folder: Folder for files that are kept after the trial, such as trained weights; None where no files are kept.
        experiment: Name of the experiment; "standalone" outside of one.
    """

    number: int = -1
    seed: int = 0
    folder: Path | None = None
    experiment: str = "standalone"

    def report(self, step: int, value: float) -> None:
        """Reports a value of the first objective during the evaluation; an experiment overrides this.

        Args:
            step: Number of the value, from 0, such as the epoch.
            value: The value.

        Raises:
            TrialPruned: The trial must end now because it is unlikely to become one of the best.
        """


class Evaluator(abc.ABC):
    """The base class of evaluators, which score archs.

    Attributes:
        objectives: Scores that a search improves, the main one first; each is a key of what `evaluate` returns.
    """

    objectives: tuple[Objective, ...] = (Objective(),)

    @abc.abstractmethod
    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        """Evaluates `arch` and returns its scores by name: all objectives, and further numbers to record.

        `TrialPruned` is raised if the trial is ended early; any other exception means that the trial failed.
        """


@dataclass(frozen=True)
class SharedTraining:
    """Settings of an evaluator for one-shot strategies, which train shared weights in a loop of their own.

    Attributes:
        device: Device to train on; None takes the GPU where there is one.
        gradient_clip_val: Largest norm of all gradients together, where the strategy sets none itself; None does not clip.
        deterministic: Whether to refuse operations whose results may differ from run to run.
        unmet: Settings that were given and that such a loop does not support, name -> value; a strategy refuses them.
    """

    device: torch.device | None = None
    gradient_clip_val: float | None = None
    deterministic: bool = False
    unmet: Mapping[str, Any] = field(default_factory=dict)


class TrainingEvaluator(Evaluator):
    """An evaluator that trains the network that it scores; one-shot strategies train supernets with its methods.

    Attributes:
        max_epochs: Number of passes over the training data, at least 1.
    """

    max_epochs: int

    @abc.abstractmethod
    def train_batches(self, seed: int) -> Iterable[Batch]:
        """Returns the batches of one training epoch, in an order drawn with `seed`; the iterable must have a length."""

    @abc.abstractmethod
    def val_batches(self) -> Iterable[Batch]:
        """Returns the batches of one pass over the validation data, in a fixed order."""

    def mixed_val_batches(self, seed: int) -> Iterable[Batch]:
        """Returns the validation batches in an order drawn with `seed`; one-shot strategies learn the arch from them.

        A sequence of batches is shuffled here. An evaluator whose items are sorted, by class for example, overrides this.
        """
        batches = self.val_batches()
        return Random(seed).sample(batches, len(batches)) if isinstance(batches, Sequence) else batches

    def shared_training(self) -> SharedTraining:
        """Settings that a one-shot strategy needs in addition to the data, loss, optimizer and schedule."""
        return SharedTraining()

    @abc.abstractmethod
    def loss(self, output: Any, target: Any) -> torch.Tensor:
        """Returns the loss as a scalar tensor; in training `output` may be a pair (logits, logits of an auxiliary head)."""

    @abc.abstractmethod
    def make_optimizer(self, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        """Returns a new optimizer of `parameters`."""

    @abc.abstractmethod
    def make_schedule(self, optimizer: torch.optim.Optimizer, total_steps: int) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Returns a scheduler to step after every optimizer step, or None for a constant learning rate."""

    @abc.abstractmethod
    def fit(self, model: nn.Module, trial: Trial | None = None) -> dict[str, float]:
        """Trains `model` in place and returns its scores on the validation data."""

    @abc.abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Returns the scores of a network on the validation data; `model` may also be a view of a supernet."""
