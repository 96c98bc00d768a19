"""The settings with which an evaluator trains a network, many of them arguments of Lightning's trainer, and their checks."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, TypedDict

import torch
from torch import nn

from hubserve.errors import EvaluatorError
from hubserve.similar_names import suggest
from hubserve.training.optimizers_and_schedules import MakeOptimizer, MakeSchedule

Criterion = Callable[[Any, Any], torch.Tensor]
"""A loss function (output of the network, targets) -> scalar tensor, which training minimises."""

WITHOUT_EFFECT = frozenset(
    {
        "benchmark", "check_val_every_n_epoch", "default_root_dir", "enable_checkpointing", "enable_model_summary",
        "enable_progress_bar", "log_every_n_steps", "logger", "num_sanity_val_steps", "profiler",
    }
)  # fmt: skip
"""Arguments of Lightning's trainer that are accepted and ignored, so that scripts need no change."""

INSTEAD = {
    "gpus": "write accelerator='gpu', devices=1",
    "callbacks": "an experiment prunes, reports and saves by itself",
    "plugins": "devices and precision choose what is needed",
}
"""Argument of Lightning's trainer that is refused -> advice what to do instead, for the error message."""

ACCELERATORS = ("auto", "cpu", "gpu", "cuda")

PRECISIONS = {
    "auto": "auto", "32": "32-true", "32-true": "32-true", "16": "16-mixed", "16-mixed": "16-mixed", "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
}  # fmt: skip
"""Allowed value of `precision` -> the name of that precision in Lightning."""


@dataclass(frozen=True)
class TrainingSettings:
    """The settings with which an evaluator trains a network.

    Attributes:
        criterion: Loss function (output of the network, targets) -> scalar tensor; or a class of one, which is called without
            arguments to make it.
        learning_rate: Learning rate of the optimizer, at least 0; a schedule multiplies it by a factor.
        weight_decay: Weight decay of the optimizer, at least 0.
        optimizer: Class of torch.optim, a functools.partial of one, or "adam", "adamw", "rmsprop" or "sgd" (with Nesterov
            momentum 0.9).
        batch_size: Number of items in a batch, at least 1; it is only used for a data set, not for a DataLoader.
        schedule: "cosine", "step" or "none", or a function (optimizer, number of steps) -> scheduler. None is the same as
            "none": a constant learning rate after the warm-up.
        warm_up: Share of the steps, in [0, 1), in which the learning rate first rises from near 0 to `learning_rate`; it is not
            used if `schedule` is a function.
        ema_decay: Share of an exponential moving average of the weights that each step keeps, in (0, 1); the average is
            validated and returned. None means that no average is computed.
        auxiliary_weight: Factor of the loss of an auxiliary head, at least 0.
        drop_path_prob: Probability of drop path, in [0, 1). In epoch i of n, counted from 0, it is i / n times this value.
        max_epochs: Number of passes over the training data, at least 1 (the default of Lightning is 1000).
        max_steps: Number of optimizer steps after which training ends, at least 1; -1 means no limit.
        limit_train_batches: Batches that are used in each epoch: an int of at least 1 is their number, a float in (0, 1] their
            share.
        limit_val_batches: Batches that are used in each validation: an int of at least 1 is their number, a float in (0, 1]
            their share.
        gradient_clip_val: Norm to which the gradients of all parameters together are clipped; None or 0 does not clip them.
        accumulate_grad_batches: Number of batches whose gradients are added up for one step of the optimizer, at least 1.
        accelerator: "cpu", "gpu", "cuda" (the same as "gpu") or "auto". "auto" takes a GPU if there is one.
        devices: Number of processes that train together, at least 1, each on its own GPU or all on the CPU; "auto" means 1.
        strategy: "auto", "ddp" or "ddp_spawn". It has no further effect: `devices` above 1 always trains with DDP.
        precision: "32-true", "16-mixed", "bf16-mixed" (or 32, 16, "bf16"), or "auto": "16-mixed" on a GPU, else "32-true".
        deterministic: Whether torch refuses operations whose results may differ from run to run.
        fast_dev_run: Whether to train for one epoch of one batch and to validate one batch, as a quick test.

    Raises:
        EvaluatorError: A number is out of its range, or a word is not one of those above. `optimizer`, `schedule` and `warm_up`
            are checked by the evaluator.
    """

    criterion: type[nn.Module] | Criterion
    learning_rate: float
    weight_decay: float
    optimizer: str | MakeOptimizer
    _: KW_ONLY
    batch_size: int = 64
    schedule: str | MakeSchedule | None = None
    warm_up: float = 0.0
    ema_decay: float | None = None
    auxiliary_weight: float = 0.4
    drop_path_prob: float = 0.0
    max_epochs: int = 10
    max_steps: int = -1
    limit_train_batches: int | float = 1.0
    limit_val_batches: int | float = 1.0
    gradient_clip_val: float | None = None
    accumulate_grad_batches: int = 1
    accelerator: str = "auto"
    devices: int | str = 1
    strategy: str = "auto"
    precision: str | int = "auto"
    deterministic: bool = False
    fast_dev_run: bool = False

    def __post_init__(self) -> None:
        if self.fast_dev_run:
            for name in ("max_epochs", "limit_train_batches", "limit_val_batches"):
                object.__setattr__(self, name, 1)
        if self.gradient_clip_val == 0:
            object.__setattr__(self, "gradient_clip_val", None)
        for name, least in LEAST.items():
            if (getattr(self, name) or 0) < least:
                raise EvaluatorError(f"{name} = {getattr(self, name)} must be at least {least}")
        for name in ("limit_train_batches", "limit_val_batches"):
            value = getattr(self, name)
            if value <= 0 or (isinstance(value, float) and value > 1):
                raise EvaluatorError(
                    f"{name} = {value!r}: an int of at least 1 counts batches, a float in (0, 1] is a share of them"
                )
        if self.max_steps != -1 and self.max_steps < 1:
            raise EvaluatorError(f"max_steps = {self.max_steps} must be at least 1, or -1 for no such end")
        if not 0.0 <= self.drop_path_prob < 1.0:
            raise EvaluatorError(f"drop_path_prob = {self.drop_path_prob} must lie in [0, 1)")
        if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
            raise EvaluatorError(f"ema_decay = {self.ema_decay} must lie in (0, 1)")
        check_word("accelerator", self.accelerator, ACCELERATORS)
        check_word("strategy", self.strategy, ("auto", "ddp", "ddp_spawn"))
        check_word("precision", str(self.precision), tuple(PRECISIONS))
        if self.devices != "auto" and (not isinstance(self.devices, int) or self.devices < 1):
            raise EvaluatorError(f"devices = {self.devices!r}: a number of devices, at least 1, or 'auto'")

    @property
    def n_devices(self) -> int:
        """Number of processes that train together: `devices`, or 1 for "auto"."""
        return 1 if isinstance(self.devices, str) else self.devices


class TrainerArguments(TypedDict, total=False):
    """The types of the training arguments of an evaluator; `TrainingSettings` explains them and has their defaults.

    The last ten, from `benchmark` on, are arguments of Lightning's trainer that are accepted and ignored.
    """

    batch_size: int
    schedule: str | MakeSchedule | None
    warm_up: float
    ema_decay: float | None
    auxiliary_weight: float
    drop_path_prob: float
    max_epochs: int
    max_steps: int
    limit_train_batches: int | float
    limit_val_batches: int | float
    gradient_clip_val: float | None
    accumulate_grad_batches: int
    accelerator: str
    devices: int | str
    strategy: str
    precision: str | int
    deterministic: bool
    fast_dev_run: bool
    benchmark: Any
    check_val_every_n_epoch: Any
    default_root_dir: Any
    enable_checkpointing: Any
    enable_model_summary: Any
    enable_progress_bar: Any
    log_every_n_steps: Any
    logger: Any
    num_sanity_val_steps: Any
    profiler: Any


LEAST = {
    "accumulate_grad_batches": 1, "auxiliary_weight": 0, "batch_size": 1, "gradient_clip_val": 0, "learning_rate": 0,
    "max_epochs": 1, "weight_decay": 0,
}  # fmt: skip
"""Name of a setting -> its smallest allowed value."""


def known_settings(arguments: Mapping[str, Any], *, export_onnx: bool) -> dict[str, Any]:
    """Returns those arguments of an evaluator that are fields of `TrainingSettings`, without those that are ignored.

    Args:
        arguments: Values of the arguments, by name.
        export_onnx: An argument of NNI's evaluators, which must be False.

    Raises:
        EvaluatorError: An argument is not known (the message names the most similar one), or `export_onnx` is True.
    """
    if export_onnx:
        raise EvaluatorError("export_onnx: a model is exported, with proof, by `hubserve export`; leave it False here")
    known = {field.name for field in fields(TrainingSettings)}
    for name in arguments:
        if name not in known | WITHOUT_EFFECT:
            raise EvaluatorError(f"unknown argument {name!r}: {INSTEAD.get(name) or suggest(name, known)}")
    return {name: value for name, value in arguments.items() if name in known}


def limit(length: int, wanted: int | float) -> int:
    """Returns how many of `length` batches are used.

    Args:
        length: Number of batches.
        wanted: An int is the number of batches, a float in (0, 1] their share, which is rounded down, but to at least 1 of
            any.
    """
    return min(length, wanted if isinstance(wanted, int) else max(1, int(length * wanted)))


def check_word(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raises EvaluatorError if `value`, given for the setting `name`, is not one of `allowed`."""
    if value not in allowed:
        raise EvaluatorError(f"{name} = {value!r} is not one of {allowed}. {suggest(value, allowed)}")
