"""`EpochLoop`, the loop over epochs and batches that all one-shot strategies use."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from random import Random

import torch

from hubserve.data.loaders import Batch
from hubserve.data.nested_batches import batch_on
from hubserve.errors import StrategyError
from hubserve.strategy.oneshot.search import OneShotProgress, OneShotSearch
from hubserve.training.evaluator import SharedTraining, TrainingEvaluator
from hubserve.training.faster_on_cpu import faster_on_cpu
from hubserve.training.memory_format import training_format
from hubserve.training.process_group import ProcessGroup
from hubserve.training.seeding import seeded


@dataclass
class EpochLoop:
    """Passes training and validation batches to a search, epoch by epoch, and records the history.

    Attributes:
        evaluator: Provides the training and validation data.
        search: Takes a step for each training batch.
        seed: Seed of the order of the data, and of torch's random numbers in each epoch.
        device: Device to which batches are moved.
        training: The settings of the evaluator that apply to the training of shared weights.
        on_step: Called with each row of the history; None calls nothing.
        should_stop: Called after each step; True ends the epoch there. None never ends it.
        group: The processes that train together; each trains on its part of the data, and the first one says when to stop.
        history: One row for each step so far.
        epoch: Number of epochs that are complete.
    """

    evaluator: TrainingEvaluator
    search: OneShotSearch
    _: KW_ONLY
    seed: int
    device: torch.device
    training: SharedTraining
    on_step: Callable[[OneShotProgress], None] | None = None
    should_stop: Callable[[], bool] | None = None
    group: ProcessGroup = field(default_factory=ProcessGroup)
    history: list[OneShotProgress] = field(default_factory=list)
    epoch: int = 0

    def run_epoch(self) -> bool:
        """Runs one epoch; returns True if it was completed, False if `should_stop` ended it early.

        Raises:
            StrategyError: The search needs validation data and the evaluator has none, or a loss is not finite.
        """
        with faster_on_cpu(self.search.supernet), seeded_epoch(self.seed, self.epoch, self.training):
            self.search.begin(self.epoch, self._val_batches())
            for batch in self.evaluator.train_part(epoch_seed(self.seed, self.epoch), self.group.part):
                row = self.search.step(*self._on_device(batch))
                row = {"step": len(self.history), "epoch": self.epoch, **row}
                self.history.append(row)
                if self.on_step is not None:
                    self.on_step(row)
                if self.group.value_of_first(self.should_stop is not None and self.should_stop()):
                    return False
        self.epoch += 1
        return True

    def _val_batches(self) -> Iterator[Batch]:
        # Seeded by epoch and pass: an epoch that is repeated sees the same order, and a search that takes fewer validation
        # batches than there are comes to all of them in the course of the epochs.
        for number in itertools.count():
            empty, seed = True, Random(f"{self.seed}/{self.epoch}/{number}").randrange(2**63)
            for batch in self.evaluator.mixed_val_batches(seed):
                empty = False
                yield self._on_device(batch)
            if empty:
                raise StrategyError("the evaluator has no validation data, from which this strategy would learn")

    def _on_device(self, batch: Batch) -> Batch:
        """Returns the batch on the device; on the CPU, its images are in the memory format that the space asks for."""
        inputs, targets = batch_on(batch, self.device)
        if self._image_format is not None and isinstance(inputs, torch.Tensor) and inputs.dim() == 4:
            inputs = inputs.contiguous(memory_format=self._image_format)
        return inputs, targets

    @cached_property
    def _image_format(self) -> torch.memory_format | None:
        """The memory format in which the space wants images on the CPU; None leaves them as they are."""
        wants = self.device.type == "cpu" and self.search.supernet.space.channels_last
        return training_format(self.search.supernet) if wants else None


def epoch_seed(seed: int, epoch: int) -> int:
    """Returns the seed of the order of the training data in an epoch, in [0, 2**63)."""
    return (seed * 1_000_003 + epoch + 1) % 2**63


def seeded_epoch(seed: int, epoch: int, training: SharedTraining) -> AbstractContextManager[None]:
    """Returns a context manager in which random numbers are seeded by `seed` and `epoch`.

    The states of the random generators are restored afterwards.
    """
    return seeded(Random(f"{seed}/{epoch}").randrange(2**63), deterministic=training.deterministic)
