"""`OneShotStrategy`, the base class of strategies that search by training one supernet, and `OneShotResult`."""

import abc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from hubserve.data.nested_batches import batch_on
from hubserve.errors import StrategyError, SupernetError
from hubserve.space import Arch, ModelSpace
from hubserve.strategy.oneshot.checkpoint import Identity, epochs_of, read_checkpoint, write_checkpoint
from hubserve.strategy.oneshot.epoch_loop import EpochLoop, seeded_epoch
from hubserve.strategy.oneshot.search import OneShotProgress, OneShotSearch
from hubserve.supernet import Supernet
from hubserve.supernet.memory_estimates import machine_bytes
from hubserve.supernet.paused_collection import paused_collection
from hubserve.training.evaluator import SharedTraining, TrainingEvaluator
from hubserve.training.process_group import ProcessGroup, start_group

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OneShotResult:
    """The result of a one-shot strategy.

    Attributes:
        arch: The canonical arch that was found. None if the strategy only trains the supernet (`RandomOneShot`), in which a
            multi-trial strategy then searches.
        supernet: The supernet with the trained weights.
        history: One row for each training step.
        stopped: True if the run was stopped before its last epoch was complete.
        memory_bytes: Number of bytes of memory that the run was estimated to need.
        cost_r2: Coefficient of determination (R squared) of the `CostTable` of a penalty, on archs that it was not fitted to:
            1 is exact, 0 no better than predicting their mean. None if no table was used.
    """

    arch: Arch | None
    supernet: Supernet | None
    history: tuple[OneShotProgress, ...]
    stopped: bool = False
    memory_bytes: int = 0
    cost_r2: float | None = None


class OneShotStrategy(abc.ABC):
    """Base class of strategies that search a space by training one supernet; a subclass is a frozen dataclass of settings.

    The same seed gives the same history. With a folder, a checkpoint is written after each epoch; a run that is started again
    with that folder continues from it, with the same result as without the interruption. If the evaluator has more epochs than
    before, even a run that had ended continues: what depends on the share of the training that is done, such as the learning
    rate of a schedule, is from then on that of a run with the larger number of epochs.

    Attributes:
        supports: Those of "drop_path_prob" and "devices" that the strategy follows if an evaluator sets them; every strategy
            follows `ema_decay` and `precision`. A run with a setting that is not followed is refused.
    """

    supports: ClassVar[frozenset[str]] = frozenset()

    @abc.abstractmethod
    def search(self, space: ModelSpace, evaluator: TrainingEvaluator, *, seed: int, total_steps: int) -> OneShotSearch:
        """Returns a new search with these settings that has taken no step yet; `run` calls it.

        Args:
            space: Any model space that the strategy supports.
            evaluator: Its loss, optimizer and learning rate schedule train the shared weights.
            seed: Seed of the weights and of all random draws of the search.
            total_steps: Number of training steps of all epochs together.

        Raises:
            SupernetError: The strategy does not support a choice of the space.
        """

    def checkpoint_settings(self) -> dict[str, Any]:
        """Returns the settings, by name, that the run which reads a checkpoint must share with the run that wrote it.

        A checkpoint with other settings is refused. Empty for default settings; this implementation returns none at all.
        """
        return {}

    def shared_training(self, evaluator: TrainingEvaluator) -> SharedTraining:
        """Returns the settings of `evaluator` that apply to the training of shared weights.

        Raises:
            StrategyError: `evaluator` has a setting that this strategy cannot follow.
        """
        training = evaluator.shared_training()
        unmet = dict(training.unmet)
        for name in ("drop_path_prob", "devices"):
            if name not in self.supports and getattr(training, name) != getattr(SharedTraining(), name):
                unmet[name] = getattr(training, name)
        if unmet:
            settings = " and ".join(f"{name} = {value!r}" for name, value in unmet.items())
            raise StrategyError(
                f"shared weights are trained without {settings}: leave that out of the evaluator here "
                "(a job: out of recipe), and give it to the one that trains the found network (a job: retrain)"
            )
        return training

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
        """Searches `space` by training a supernet for `evaluator.max_epochs` epochs, and returns the result.

        Args:
            space: Any model space.
            evaluator: Its data, loss, optimizer, learning rate schedule and gradient clipping train the shared weights.
            seed: Seed of all random numbers.
            folder: Folder of the checkpoint, from which a run continues; None writes no checkpoint.
            on_step: Called with the row of the history after each step.
            should_stop: Called after each step; True stops the run. The result then has `stopped` = True and the arch found so
                far, and the checkpoint is that of the last complete epoch.
            device: Device to train on; None uses the evaluator's or, if it has none, a GPU if there is one.

        Raises:
            SupernetError: The strategy does not support a choice of the space, or needs more memory than the device has.
            EvaluatorError: Several devices are asked for, and there are not as many, or strategy, space or evaluator do not
                support pickle; or the evaluator asks for drop path, "16-mixed" precision, distillation or a validation that
                the networks, the device or its data do not support.
            StrategyError: The checkpoint in the folder is of another search or cannot be read, a loss is not finite, the
                evaluator has no data, it has a setting that cannot be used when weights are shared, or the strategy cannot draw
                an arch that the space's check and its own filter accept.
            StorageError: The checkpoint cannot be written, as on a full disk.
        """
        asked = self.shared_training(evaluator)
        where = torch.device(device or asked.device or ("cuda" if torch.cuda.is_available() else "cpu"))
        inputs = _Inputs(self, space, evaluator, seed, folder)
        with start_group(asked.devices, where, _follow, inputs) as (group, own):
            return inputs.run(group, own, on_step, should_stop)


@dataclass(frozen=True)
class _Inputs:
    """The arguments of `OneShotStrategy.run` that all processes of a run have."""

    strategy: OneShotStrategy
    space: ModelSpace
    evaluator: TrainingEvaluator
    seed: int
    folder: Path | None

    def run(
        self,
        group: ProcessGroup,
        where: torch.device,
        on_step: Callable[[OneShotProgress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> OneShotResult:
        """Does the work of one process; its arguments are those of `OneShotStrategy.run`."""
        strategy, space, evaluator, seed, folder = self.strategy, self.space, self.evaluator, self.seed, self.folder
        asked = strategy.shared_training(evaluator)
        with seeded_epoch(seed, -1, asked), paused_collection():
            batches = _n_train_batches(evaluator, seed, group.part)
            search = strategy.search(space, evaluator, seed=seed, total_steps=batches * evaluator.max_epochs)
            x, _ = batch_on(next(iter(evaluator.train_batches(seed))), where)
            search.prepare(x)
            memory = search.memory_bytes(x)
            _check_memory(type(strategy).__name__, memory, where)
            search.supernet.to(where)
        search.weights.group = group
        loop = EpochLoop(
            evaluator, search, seed=seed, device=where, training=asked, on_step=on_step, should_stop=should_stop, group=group
        )
        held_to = strategy.checkpoint_settings() | _followed(asked)
        identity = Identity(type(strategy).__name__, repr(space), seed, evaluator.max_epochs, batches, held_to)
        if folder is not None and (found := read_checkpoint(folder, identity)):
            search.load_state_dict(found["search"] | {"total_steps": epochs_of(found) * batches})
            loop.history, loop.epoch = list(found["history"]), int(found["epoch"])
        stopped = False
        while loop.epoch < evaluator.max_epochs and not stopped:
            stopped = not loop.run_epoch()
            if folder is not None and not stopped and group.rank == 0:
                content = {"search": search.state_dict(), "history": loop.history, "epoch": loop.epoch}
                write_checkpoint(folder, identity, content)
        if not stopped:
            search.finish()
        return OneShotResult(search.arch(), search.supernet, tuple(loop.history), stopped, memory, search.cost_r2)


def _follow(group: ProcessGroup, device: torch.device, inputs: _Inputs) -> None:
    """Does the work of a process other than the first one."""
    inputs.run(group, device)


def _followed(training: SharedTraining) -> dict[str, Any]:
    """Returns those settings that change what is trained and differ from their defaults; a checkpoint must have the same."""
    named = {name: getattr(training, name) for name in ("ema_decay", "precision", "drop_path_prob")}
    return {name: value for name, value in named.items() if value != getattr(SharedTraining(), name)}


def _n_train_batches(evaluator: TrainingEvaluator, seed: int, part: tuple[int, int]) -> int:
    batches: Any = evaluator.train_part(seed, part)
    if not (number := len(batches)):
        raise StrategyError("the evaluator has no training data")
    return number


def _check_memory(strategy: str, needed: int, device: torch.device) -> None:
    """Logs the estimated number of bytes, as a warning if it exceeds the free memory of `device`.

    Raises:
        SupernetError: The estimate exceeds the total memory of `device`.
    """
    free, total = machine_bytes(device)
    estimate = f"{strategy} is estimated to take {needed / 2**20:,.0f} MiB"
    if needed > total:
        raise SupernetError(
            f"{estimate}, and {device.type} has {total / 2**20:,.0f} MiB; take smaller batches or a smaller space, or "
            "RandomOneShot, which runs one network at a time"
        )
    if needed > free:
        log.warning("%s, and only %s MiB of %s are free", estimate, f"{free / 2**20:,.0f}", device.type)
    else:
        log.info("%s", estimate)
