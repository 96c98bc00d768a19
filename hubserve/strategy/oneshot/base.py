"""One-shot strategies: one training loop over weights that all archs share."""

from __future__ import annotations

import abc
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from hubserve.data.loaders import Batch
from hubserve.errors import StrategyError, SupernetError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.checkpoint import read_checkpoint, write_checkpoint
from hubserve.supernet import Supernet
from hubserve.supernet.memory_estimates import machine_bytes
from hubserve.training.evaluator import SharedTraining, TrainingEvaluator
from hubserve.training.seeding import seeded

OneShotProgress = dict[str, Any]
"""One row of the history: step, epoch, train_loss; val_loss, where a strategy looks at validation data; for strategies that
learn probabilities, "probabilities" (label -> candidate -> number) and "entropy" (label -> nats)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OneShotResult:
    """What a one-shot strategy ends in.

    Attributes:
        arch: canonical; None where a multi-trial strategy must search the supernet yet.
        supernet: with the shared weights as they were trained.
        history: a row for each step.
        stopped: whether it was stopped before its time.
        memory_bytes: what it was estimated to take.
        cost_r2: how good the table of costs is that a penalty goes by, on archs that it was not fitted to: 1 is exact, 0 no
            better than their mean; None where no table was needed.
    """

    arch: Arch | None
    supernet: Supernet | None
    history: tuple[OneShotProgress, ...]
    stopped: bool = False
    memory_bytes: int = 0
    cost_r2: float | None = None


class OneShotSearch(abc.ABC):
    """A one-shot strategy at work on one space.

    Attributes:
        supernet: whose weights are trained.
        cost_r2: see OneShotResult; known once prepared.
    """

    supernet: Supernet
    cost_r2: float | None = None

    @abc.abstractmethod
    def prepare(self, x: Any) -> int:
        """Gets ready for batches like `x`.

        Returns:
            Estimated bytes of a step on them: weights, gradients, the optimizer's state, and activations.
        """

    @abc.abstractmethod
    def begin(self, epoch: int, val_batches: Iterator[Batch]) -> None:
        """An epoch begins; `val_batches` goes through the validation data again and again, each time in another order."""

    @abc.abstractmethod
    def step(self, x: Any, target: Any) -> OneShotProgress:
        """One step on a training batch."""

    def end(self, epoch: int) -> None:
        """The epoch's training batches have all been seen."""

    @abc.abstractmethod
    def arch(self) -> Arch | None:
        """What has been found so far."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that the steps have changed: tensors, numbers, strings, and lists and dicts of them."""

    @abc.abstractmethod
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken."""


class OneShotStrategy(abc.ABC):
    """Searches by training one supernet.

    The same seed gives the same history. Given a folder, a checkpoint is written after each epoch, and a run that is started
    again with that folder goes on from it, to the same end as if nothing had happened.
    """

    @abc.abstractmethod
    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> OneShotSearch:
        """Prepares a search; `total_steps` are those of all epochs together."""

    def run(
        self,
        space: ModelSpace,
        evaluator: TrainingEvaluator,
        *,
        seed: int = 0,
        folder: Path | None = None,
        on_step: Callable[[OneShotProgress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        device: str | torch.device | None = None,
    ) -> OneShotResult:
        """Trains for `evaluator.max_epochs` passes over the training data.

        Args:
            space: any model space.
            evaluator: its data, loss, optimizer, schedule and clipping train the shared weights.
            seed: of all that is random.
            folder: for the checkpoint.
            on_step: hears of each step.
            should_stop: asked after each step; a stopped run keeps the checkpoint of its last whole epoch.
            device: None takes the evaluator's.

        Raises:
            SupernetError: the strategy is not defined for a choice of the space, or needs more memory than the machine has.
            StrategyError: the folder holds the checkpoint of another search, or the evaluator has a setting that shared
                weights are not trained with.
        """
        wanted = shared_training(evaluator)
        where = torch.device(device or wanted.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with _seeded(seed, -1, wanted):
            batches = list_length(evaluator.train_batches(seed))
            search = self.search(space, evaluator, seed=seed, total_steps=batches * evaluator.max_epochs)
            first = to_device(next(iter(evaluator.train_batches(seed))), where)
            memory = _check_memory(self, search, first[0], where)
        course = _Course(evaluator, search, seed, where, wanted, on_step, should_stop)
        identity = [type(self).__name__, repr(space), seed, evaluator.max_epochs, batches]
        if folder is not None and (found := read_checkpoint(folder, identity)):
            search.load_state_dict(found["search"])
            course.history, course.epoch = list(found["history"]), int(found["epoch"])
        while course.epoch < evaluator.max_epochs:
            if not course.run_epoch():
                return OneShotResult(search.arch(), search.supernet, tuple(course.history), True, memory, search.cost_r2)
            if folder is not None:
                content = {"search": search.state_dict(), "history": course.history, "epoch": course.epoch}
                write_checkpoint(folder, identity, content)
        search.supernet.eval()
        return OneShotResult(search.arch(), search.supernet, tuple(course.history), False, memory, search.cost_r2)


class _Course:
    """The epochs of a run."""

    def __init__(
        self,
        evaluator: TrainingEvaluator,
        search: OneShotSearch,
        seed: int,
        device: torch.device,
        wanted: SharedTraining,
        on_step: Callable[[OneShotProgress], None] | None,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self._evaluator = evaluator
        self._search = search
        self._seed = seed
        self._device = device
        self._wanted = wanted
        self._on_step = on_step
        self._should_stop = should_stop
        self.history: list[OneShotProgress] = []
        self.epoch = 0

    def run_epoch(self) -> bool:
        """Returns whether the epoch came to its end."""
        with _seeded(self._seed, self.epoch, self._wanted):
            self._search.begin(self.epoch, self._val_batches())
            for batch in self._evaluator.train_batches(epoch_seed(self._seed, self.epoch)):
                row = self._search.step(*to_device(batch, self._device))
                row = {"step": len(self.history), "epoch": self.epoch, **row}
                self.history.append(row)
                if self._on_step is not None:
                    self._on_step(row)
                if self._should_stop is not None and self._should_stop():
                    return False
            self._search.end(self.epoch)
        self.epoch += 1
        return True

    def _val_batches(self) -> Iterator[Batch]:
        # Anew in each epoch: an epoch that is repeated sees the same, and steps fewer than the batches come to all of them.
        for number in itertools.count():
            empty, seed = True, Random(f"{self._seed}/{self.epoch}/{number}").randrange(2**63)
            for batch in self._evaluator.mixed_val_batches(seed):
                empty = False
                yield to_device(batch, self._device)
            if empty:
                raise StrategyError("the evaluator has no validation data, from which this strategy would learn")


def epoch_seed(seed: int, epoch: int) -> int:
    """Of what is random in one epoch."""
    return (seed * 1_000_003 + epoch + 1) % 2**63


def list_length(batches: Any) -> int:
    """Batches of one pass over the training data."""
    length = len(batches)
    if length == 0:
        raise StrategyError("the evaluator has no training data")
    return length


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Inputs and targets on `device`, where they are tensors."""
    x, target = batch
    return (
        x.to(device) if isinstance(x, torch.Tensor) else x,
        target.to(device) if isinstance(target, torch.Tensor) else target,
    )


def shared_training(evaluator: TrainingEvaluator) -> SharedTraining:
    """What the evaluator asks of a training of shared weights.

    Raises:
        StrategyError: a setting of it means nothing there.
    """
    wanted = evaluator.shared_training()
    if wanted.unmet:
        told = " and ".join(f"{name} = {value!r}" for name, value in wanted.unmet.items())
        raise StrategyError(
            f"shared weights are trained without {told}: leave that out of the evaluator here (a job: out of recipe), and give "
            "it to the one that trains the found network (a job: retrain)"
        )
    return wanted


def _seeded(seed: int, epoch: int, wanted: SharedTraining) -> AbstractContextManager[None]:
    """Torch draws from seed and epoch inside; the caller's generators are put back afterwards."""
    return seeded(Random(f"{seed}/{epoch}").randrange(2**63), deterministic=wanted.deterministic)


def _check_memory(strategy: OneShotStrategy, search: OneShotSearch, x: Any, device: torch.device) -> int:
    """Tells the estimate; raises SupernetError where the machine is too small for it."""
    needed = search.prepare(x)
    free, total = machine_bytes(device)
    told = f"{type(strategy).__name__} is estimated to take {needed / 2**20:,.0f} MiB"
    if needed > total:
        raise SupernetError(
            f"{told}, and {device.type} has {total / 2**20:,.0f} MiB; take smaller batches or a smaller space, or "
            "RandomOneShot, which runs one network at a time"
        )
    if needed > free:
        log.warning("%s, and only %s MiB of %s are free", told, f"{free / 2**20:,.0f}", device.type)
    else:
        log.info("%s", told)
    search.supernet.to(device)
    return needed
