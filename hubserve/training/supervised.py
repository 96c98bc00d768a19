"""`SupervisedEvaluator`, the base class of `Classification` and `Regression`, which trains a network on inputs and targets."""

import abc
import math
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

from hubserve.blocks.cell_network import CellNetwork
from hubserve.blocks.drop_path import DropPath
from hubserve.data.loaders import Batch, Batches, Data, in_order, shuffled
from hubserve.data.nested_batches import batch_on, map_leaves
from hubserve.errors import DivergedError, EvaluatorError
from hubserve.space import Arch, ModelSpace
from hubserve.training.device import Devices, OneDevice, device_kind
from hubserve.training.distributed import run_together
from hubserve.training.evaluator import SharedTraining, TrainingEvaluator, Trial
from hubserve.training.faster_on_cpu import faster_on_cpu
from hubserve.training.loop import LoopParts, train
from hubserve.training.memory_format import in_training_format
from hubserve.training.optimizers_and_schedules import find_optimizer, find_schedule
from hubserve.training.seeding import seeded
from hubserve.training.settings import PRECISIONS, Criterion, TrainingSettings, limit
from hubserve.training.trial_weights import pack, save_weights, unpack


class SupervisedEvaluator(TrainingEvaluator):
    """An evaluator that trains a network on batches of (input, target) and scores it on validation batches.

    Args:
        settings: Settings of the training.
        data: Training data and validation data, each a torch data set, a DataLoader or an iterable of batches with a length.
            Data that are not used later may be None.

    Attributes:
        settings: Settings of the training.
        score_name: Name of the score in the dictionaries that `fit` and `validate` return.

    Raises:
        EvaluatorError: The optimizer or the schedule is not known, or `warm_up` is not in [0, 1).
    """

    score_name: ClassVar[str]

    def __init__(self, settings: TrainingSettings, data: tuple[Data, Data]) -> None:
        self.settings = settings
        self.max_epochs = settings.max_epochs
        self._train, self._val = data
        self._criterion: Criterion = settings.criterion() if isinstance(settings.criterion, type) else settings.criterion
        self._optimizer = find_optimizer(settings.optimizer)
        self._schedule = find_schedule(settings.schedule, settings.warm_up)

    @abc.abstractmethod
    def score(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Returns the score of each item of a batch, (batch,) float32; the score of a data set is the mean of all items.

        Args:
            output: Output of the network for the batch in eval mode. Its tensors are converted to float32.
            target: Targets of the batch.
        """

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        """Builds the network of `arch` with random weights, drawn with the seed of the trial, trains it and returns its scores.

        Raises:
            ArchError: `arch` does not belong to `space`.
            DivergedError: The training loss or a validation score is infinite or NaN.
            EvaluatorError: There are no training or validation data, a device or precision is not available, or the network
                cannot be trained for another reason that `fit` names.
            TrialPruned: The trial ended the training early.
            OSError: The weights or the checkpoint cannot be written.
        """
        with seeded(trial.seed, deterministic=self.settings.deterministic):
            model = space.freeze(arch)
        return self.fit(model, trial, channels_last=space.channels_last)

    def fit(self, model: nn.Module, trial: Trial | None = None, *, channels_last: bool = False) -> dict[str, float]:
        """Trains `model` in place and returns its scores on the validation data after the last epoch.

        After every epoch the value of the first objective is reported to the trial. At the end `model` has the averaged weights
        if `ema_decay` is set, and else the last ones. If the trial has a folder, they are written to weights.safetensors there.
        If it has a checkpoint, a training that was interrupted goes on after its last complete epoch.

        Args:
            model: Network with its initial weights.
            trial: Trial with the seed, the folder and the report function; None means `Trial()`, which has the seed 0, has no
                folder and ignores reports.
            channels_last: Whether the network accepts images with the channels last in memory, as `ModelSpace.channels_last`
                says of the networks of a space. On the CPU it is trained with these then, which is faster; its weights are
                contiguous afterwards.

        Returns:
            The score under `score_name`, "val_loss" and "train_loss".

        Raises:
            DivergedError: The training loss or a validation score is infinite or NaN.
            EvaluatorError: There are no training or validation data, a device or precision is not available, `drop_path_prob`
                is set and the network has no drop path, its output cannot be scored, the checkpoint is corrupt or of another
                training, or one of several processes failed.
            TrialPruned: The trial ended the training early.
            OSError: The weights or the checkpoint cannot be written (StorageError for a full, read-only or forbidden disk).
        """
        trial = trial or Trial()
        if self.settings.n_devices > 1:
            fit = partial(self._fit_and_pack, trial=trial, channels_last=channels_last)
            scores, weights = run_together(self.settings, fit, model)
            model.load_state_dict(unpack(weights))
        else:
            scores = self._fit_on(OneDevice(self.settings), model, trial, channels_last=channels_last)
        if trial.folder is not None:
            save_weights(model, trial.folder)
        return scores

    def validate(self, model: nn.Module) -> dict[str, float]:
        return self._validate(OneDevice(self.settings), model)

    def train_batches(self, seed: int) -> Iterable[Batch]:
        return self._train_part(seed, (0, 1))

    def train_part(self, seed: int, part: tuple[int, int]) -> Iterable[Batch]:
        return super().train_part(seed, part) if part == (0, 1) else self._train_part(seed, part)

    def val_batches(self) -> Iterable[Batch]:
        return self._val_part((0, 1))

    def shared_training(self) -> SharedTraining:
        """Returns the settings that a one-shot strategy follows when it trains shared weights.

        Settings that one-shot strategies do not support are returned in `unmet`. A `precision` of "auto" counts as "32-true".

        Raises:
            EvaluatorError: `accelerator` is "gpu" or "cuda", and there is no GPU.
        """
        settings = self.settings
        precision = PRECISIONS[str(settings.precision)]
        # Setting -> (its value, the value that asks for nothing).
        asked: dict[str, tuple[Any, Any]] = {
            "accumulate_grad_batches": (settings.accumulate_grad_batches, 1),
            "max_steps": (settings.max_steps, -1),
        }
        return SharedTraining(
            device=torch.device(device_kind(settings.accelerator)),
            gradient_clip_val=settings.gradient_clip_val,
            deterministic=settings.deterministic,
            ema_decay=settings.ema_decay,
            precision="32-true" if precision == "auto" else precision,
            drop_path_prob=settings.drop_path_prob,
            devices=settings.n_devices,
            unmet={name: value for name, (value, none) in asked.items() if value != none},
        )

    def mixed_val_batches(self, seed: int) -> Iterable[Batch]:
        loader = shuffled(self._validation, self.settings.batch_size, seed, in_order_too=True)
        return Batches(loader, limit(len(loader), self.settings.limit_val_batches))

    def loss(self, output: Any, target: Any) -> torch.Tensor:
        if isinstance(output, tuple):
            logits, auxiliary = output
            return self._criterion(logits, target) + self.settings.auxiliary_weight * self._criterion(auxiliary, target)
        return self._criterion(output, target)

    def make_optimizer(self, parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
        return self._optimizer(parameters, lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay)

    def make_schedule(self, optimizer: torch.optim.Optimizer, total_steps: int) -> torch.optim.lr_scheduler.LRScheduler | None:
        return None if self._schedule is None else self._schedule(optimizer, total_steps)

    def _train_part(self, seed: int, part: tuple[int, int]) -> Batches:
        if self._train is None:
            raise EvaluatorError(f"{type(self).__name__} has no training data: give train_dataloaders or datamodule")
        loader = shuffled(self._train, self.settings.batch_size, seed, part=part)
        return Batches(loader, limit(len(loader), self.settings.limit_train_batches))

    @property
    def _validation(self) -> Data:
        if self._val is None:
            raise EvaluatorError(f"{type(self).__name__} has no validation data: give val_dataloaders or datamodule")
        return self._val

    def _val_part(self, part: tuple[int, int]) -> Batches:
        loader = in_order(self._validation, self.settings.batch_size, part=part)
        return Batches(loader, limit(len(loader), self.settings.limit_val_batches))

    def _fit_on(self, devices: Devices, model: nn.Module, trial: Trial, *, channels_last: bool) -> dict[str, float]:
        if self.settings.drop_path_prob > 0:
            set_drop_path(model, 0.0)
        is_faster = channels_last and devices.device.type == "cpu"
        memory_format = in_training_format(model) if is_faster else nullcontext()
        with memory_format, faster_on_cpu(model), seeded(trial.seed, deterministic=self.settings.deterministic):
            return train(model, self._loop_parts(devices, trial), devices)

    def _fit_and_pack(
        self, devices: Devices, model: nn.Module, *, trial: Trial, channels_last: bool
    ) -> tuple[dict[str, float], bytes]:
        return self._fit_on(devices, model, trial, channels_last=channels_last), pack(model)

    def _loop_parts(self, devices: Devices, trial: Trial) -> LoopParts:
        return LoopParts(
            settings=self.settings,
            batches=lambda epoch: self._train_part(_seed_of(trial.seed, epoch), devices.part),
            loss=self.loss,
            make_optimizer=self.make_optimizer,
            make_schedule=self.make_schedule,
            before_epoch=self._before_epoch,
            validate=lambda model: self._validate(devices, model),
            report=lambda epoch, scores: trial.report(epoch, scores[self.objectives[0].name]),
            checkpoint=trial.checkpoint,
        )

    def _before_epoch(self, model: nn.Module, epoch: int) -> None:
        if self.settings.drop_path_prob > 0:
            set_drop_path(model, self.settings.drop_path_prob * epoch / self.max_epochs)

    @torch.no_grad()
    def _validate(self, devices: Devices, model: nn.Module) -> dict[str, float]:
        device = _device_of(model, devices.device)
        training = model.training
        model.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=device)
        for batch in self._val_part(devices.part):
            inputs, target = batch_on(batch, device)
            with devices.autocast():
                output = model(inputs)
                loss = self.loss(output, target)
            right = self.score(map_leaves(_as_float32, output), target)
            n = torch.tensor(float(len(right)), device=device)
            sums += torch.stack([loss * n, right.sum(), n])
        model.train(training)
        loss_sum, score_sum, count = devices.total(sums).tolist()
        if count == 0:
            raise EvaluatorError(f"the validation data of {type(self).__name__} has no batch; give more data")
        scores = {self.score_name: score_sum / count, "val_loss": loss_sum / count}
        if not all(math.isfinite(value) for value in scores.values()):
            raise DivergedError(f"validation gives {scores}: training diverged; lower the learning rate or clip the gradients")
        return scores


def set_drop_path(model: nn.Module, prob: float) -> None:
    """Sets the probability of all drop path layers in `model`.

    Args:
        model: Network with such layers.
        prob: Probability, in [0, 1).

    Raises:
        EvaluatorError: `model` has no drop path layer.
    """
    layers = [module for module in model.modules() if isinstance(module, (CellNetwork, DropPath))]
    if not layers:
        raise EvaluatorError(f"drop_path_prob is set, and {type(model).__name__} has no drop path; leave it 0")
    for layer in layers:
        if isinstance(layer, CellNetwork):
            layer.set_drop_path_prob(prob)
        else:
            layer.prob = prob


def one_tensor(output: Any) -> torch.Tensor:
    """Returns the output of a network in eval mode, which must be one tensor to be scored.

    Raises:
        EvaluatorError: It is something else, such as a tuple or a dict.
    """
    if not isinstance(output, torch.Tensor):
        raise EvaluatorError(
            f"in eval mode the network returns a {type(output).__name__}, and the score needs one tensor: return it alone "
            "if not self.training, or write a subclass of the evaluator with its own loss and score"
        )
    return output


def _as_float32(leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, torch.Tensor) else leaf


def _device_of(model: nn.Module, default: torch.device) -> torch.device:
    """Returns the device of the first parameter of `model`; `default` if there is none, or it is on the meta device.

    Views of a supernet may have no parameters of their own, or only such without values.
    """
    first = next(iter(model.parameters()), None)
    return default if first is None or first.is_meta else first.device


def _seed_of(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**63
