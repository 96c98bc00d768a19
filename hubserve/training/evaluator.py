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
from hubserve.errors import EvaluatorError
from hubserve.space import Arch, ModelSpace

Direction = Literal["maximize", "minimize"]


@dataclass(frozen=True)
class Objective:
    """A score that a search maximises or minimises.

    Attributes:
        name: Key of the score in the dictionary that `Evaluator.evaluate` returns.
        direction: "maximize" if larger scores are better, "minimize" if smaller ones are.
    """

    name: str = "default"
    direction: Direction = "maximize"


@dataclass(frozen=True)
class Trial:
    """The trial that an evaluation belongs to.

    Attributes:
        number: Number of the trial in its study, from 0; -1 outside of a study.
        seed: Seed of all random numbers in the evaluation.
        folder: Folder for files that are kept after the trial, such as trained weights; None if no files are kept.
        experiment: Name of the experiment; "standalone" outside of one.
        checkpoint: File of the state of the training, written after each epoch; if it exists, the training goes on from there.
            None writes none. Evaluators derived from `SupervisedEvaluator`, such as `Classification`, follow it.
    """

    number: int = -1
    seed: int = 0
    folder: Path | None = None
    experiment: str = "standalone"
    checkpoint: Path | None = None

    def report(self, step: int, value: float) -> None:
        """Reports a value of the first objective during the evaluation.

        This method does nothing; the trials of an experiment record the value and may end the trial.

        Args:
            step: Number of the report, from 0, such as the epoch.
            value: Value of the first objective.

        Raises:
            TrialPruned: The trial of an experiment must end now because it is unlikely to become one of the best.
        """


class Evaluator(abc.ABC):
    """The base class of evaluators, which score archs.

    Attributes:
        objectives: Scores that a search improves, the most important one first; `evaluate` returns a value for each of them.
    """

    objectives: tuple[Objective, ...] = (Objective(),)

    @abc.abstractmethod
    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        """Evaluates `arch` and returns its scores by name: a value for each objective, and further numbers to record.

        Args:
            space: Model space of the arch.
            arch: Chosen value of each choice, by label.
            trial: Trial that the evaluation belongs to, with the seed and the folder to use.

        Raises:
            TrialPruned: The trial was ended early.
            Exception: The evaluation failed; an experiment records the trial as failed.
        """


@dataclass(frozen=True)
class SharedTraining:
    """Settings of an evaluator that one-shot strategies use when they train shared weights in their own training loop.

    Attributes:
        device: Device to train on; None takes a GPU if there is one.
        gradient_clip_val: Norm to which the gradients of all parameters together are clipped, unless the strategy has its own
            setting; None means no clipping.
        deterministic: Whether torch refuses operations whose results may differ from run to run.
        ema_decay: Share of an exponential moving average of the weights that each step keeps, in (0, 1); None means no average.
        precision: Precision of the forward passes that train the weights: "32-true", "16-mixed" or "bf16-mixed".
        drop_path_prob: Probability of drop path, in [0, 1), reached linearly over the epochs. 0 keeps that of the space.
        devices: Number of processes that train together, each on its own GPU or all on the CPU.
        unmet: Values of the settings of the evaluator that one-shot strategies do not support, by name; a strategy raises an
            error if there are any.
    """

    device: torch.device | None = None
    gradient_clip_val: float | None = None
    deterministic: bool = False
    ema_decay: float | None = None
    precision: str = "32-true"
    drop_path_prob: float = 0.0
    devices: int = 1
    unmet: Mapping[str, Any] = field(default_factory=dict)


class TrainingEvaluator(Evaluator):
    """Base class of evaluators that train the network which they score; one-shot strategies train supernets with its methods.

    Attributes:
        max_epochs: Number of passes over the training data, at least 1.
    """

    max_epochs: int

    @abc.abstractmethod
    def train_batches(self, seed: int) -> Iterable[Batch]:
        """Returns the batches of one training epoch, in a random order drawn with `seed`; the iterable has a length.

        Raises:
            EvaluatorError: There are no training data.
        """

    def train_part(self, seed: int, part: tuple[int, int]) -> Iterable[Batch]:
        """Returns the batches of one of several processes that train together.

        Args:
            seed: Seed of the random order, the same in all processes.
            part: Pair (i, n), i counted from 0, for the i-th of n processes; (0, 1) returns `train_batches(seed)`.

        Raises:
            EvaluatorError: The data cannot be divided; this implementation raises it for n above 1.
        """
        if part == (0, 1):
            return self.train_batches(seed)
        raise EvaluatorError(f"{type(self).__name__} cannot divide its data among {part[1]} processes: write train_part")

    @abc.abstractmethod
    def val_batches(self) -> Iterable[Batch]:
        """Returns the batches of one pass over the validation data, in a fixed order; the iterable has a length.

        Raises:
            EvaluatorError: There are no validation data.
        """

    def mixed_val_batches(self, seed: int) -> Iterable[Batch]:
        """Returns the validation batches in a random order drawn with `seed`; one-shot strategies learn the arch from them.

        This implementation shuffles the batches if `val_batches` returns a sequence, and else keeps their order. It does not
        mix the items of different batches: evaluators whose items are sorted, for example by class, override it.

        Raises:
            EvaluatorError: There are no validation data.
        """
        batches = self.val_batches()
        return Random(seed).sample(batches, len(batches)) if isinstance(batches, Sequence) else batches

    def shared_training(self) -> SharedTraining:
        """Returns the device and the further settings with which a one-shot strategy trains shared weights."""
        return SharedTraining()

    @abc.abstractmethod
    def loss(self, output: Any, target: Any) -> torch.Tensor:
        """Returns the loss as a scalar tensor.

        Args:
            output: Output of the network; in training it may be a pair (logits, logits of an auxiliary head).
            target: Targets of the batch.
        """

    def distillation_loss(self, output: Any, teacher: Any) -> torch.Tensor:
        """Returns the loss of a network that learns from the output of a larger one, as a scalar tensor.

        Args:
            output: Output of the network; in training it may be a pair (logits, logits of an auxiliary head).
            teacher: Output of the larger network on the same batch, without gradient.

        Raises:
            EvaluatorError: The evaluator has no such loss; this implementation always raises it.
        """
        raise EvaluatorError(
            f"{type(self).__name__} has no distillation_loss, by which small networks would learn from the largest one: write "
            "that method, or set distill = False"
        )

    @abc.abstractmethod
    def make_optimizer(self, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        """Returns a new optimizer for `parameters`."""

    @abc.abstractmethod
    def make_schedule(self, optimizer: torch.optim.Optimizer, total_steps: int) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Returns a scheduler, whose `step` is called after every step of the optimizer; None means a constant learning rate.

        Args:
            optimizer: Optimizer whose learning rate is scheduled.
            total_steps: Number of steps of the whole training.
        """

    @abc.abstractmethod
    def fit(self, model: nn.Module, trial: Trial | None = None) -> dict[str, float]:
        """Trains `model` in place and returns its scores on the validation data, by name.

        Args:
            model: Network with its initial weights.
            trial: Trial that the training belongs to; None means `Trial()`.

        Raises:
            TrialPruned: The trial was ended early.
            EvaluatorError: The network cannot be trained, or the training diverged (DivergedError).
        """

    @abc.abstractmethod
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Returns the scores of a network, or of a view of a supernet, on the validation data, by name.

        Raises:
            EvaluatorError: There are no validation data, or a score is not finite (DivergedError).
        """
