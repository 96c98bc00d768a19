"""Settings of a training: those of the evaluator, and those that Lightning's trainer has, checked."""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any, TypedDict

import torch
from torch import nn

from hubserve.errors import EvaluatorError, suggest
from hubserve.training.optimizers_and_schedules import MakeOptimizer, MakeSchedule

Criterion = Callable[[Any, Any], torch.Tensor]
"""Loss: (output, targets) -> a scalar tensor that training makes small."""

WITHOUT_EFFECT = frozenset(
    {
        "benchmark", "check_val_every_n_epoch", "default_root_dir", "enable_checkpointing", "enable_model_summary",
        "enable_progress_bar", "log_every_n_steps", "logger", "num_sanity_val_steps", "profiler",
    }
)  # fmt: skip
"""Arguments of Lightning's trainer for what an experiment does by itself; accepted, so that scripts need no change."""

INSTEAD = {
    "gpus": "write accelerator='gpu', devices=1",
    "callbacks": "an experiment prunes, reports and saves by itself",
    "plugins": "devices and precision choose what is needed",
}
"""Argument of Lightning's trainer that is refused -> what to do in its place."""

PRECISIONS = {
    "auto": "auto", "32": "32-true", "32-true": "32-true", "16": "16-mixed", "16-mixed": "16-mixed", "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
}  # fmt: skip
"""Precision as it may be given -> its name in Lightning."""


@dataclass(frozen=True)
class TrainingSettings:
    """How an evaluator trains a network, checked.

    Attributes:
        criterion: Loss, from the network's output and the targets to a scalar; or its class, of which an instance is made.
        learning_rate: Learning rate of the optimizer before its schedule, at least 0.
        weight_decay: Weight decay of the optimizer, at least 0.
        optimizer: Class of torch.optim, a functools.partial of one, or a name of OPTIMIZERS.
        batch_size: Number of items in a batch where a data set is given, at least 1.
        schedule: Name of SCHEDULES, or a function from the optimizer and the number of steps to a scheduler; None keeps the
            learning rate.
        warm_up: Share of the steps, in [0, 1), over which a named schedule rises to the learning rate.
        ema_decay: Share that the moving average of the weights keeps in a step, in (0, 1); None takes the last weights.
        auxiliary_weight: Factor of the loss of an auxiliary head, at least 0.
        drop_path_prob: Probability of drop path in the last epoch, in [0, 1); it rises linearly from 0.
        max_epochs: Number of passes over the training data, at least 1 (Lightning's own default is 1000).
        max_steps: Number of optimizer steps after which training ends; -1 sets no such end.
        limit_train_batches: Batches of each epoch that are used: an int counts them, a float in (0, 1] is a share.
        limit_val_batches: Batches of each validation that are used, counted in the same way.
        gradient_clip_val: Largest norm of all gradients together; None, or 0 as in Lightning, clips nothing.
        accumulate_grad_batches: Number of batches whose gradients make one step, at least 1.
        accelerator: "cpu", "gpu" (also "cuda"), or "auto": a GPU where there is one.
        devices: Number of processes that train together, each on a GPU of its own, or on the CPU; "auto" is 1.
        strategy: "auto", or "ddp" to train on several devices.
        precision: "32-true", "16-mixed", "bf16-mixed", or "auto": "16-mixed" on CUDA, "32-true" elsewhere.
        deterministic: Whether to refuse operations whose results may differ from run to run.
        fast_dev_run: Whether to train one epoch of one batch only, to see that everything fits together.

    Raises:
        EvaluatorError: A value is not one of these.
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
        _check_word("accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda"))
        _check_word("strategy", self.strategy, ("auto", "ddp", "ddp_spawn"))
        _check_word("precision", str(self.precision), tuple(PRECISIONS))
        if self.devices != "auto" and (not isinstance(self.devices, int) or self.devices < 1):
            raise EvaluatorError(f"devices = {self.devices!r}: a number of devices, at least 1, or 'auto'")

    @property
    def n_devices(self) -> int:
        """Number of processes that train together."""
        return 1 if isinstance(self.devices, str) else self.devices


class TrainerArguments(TypedDict, total=False):
    """Arguments of an evaluator that are settings of the training; TrainingSettings explains them and has their defaults.

    The last ten, of Lightning's trainer, have no effect here: an experiment does by itself what they are for.
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
"""Setting -> smallest value that is allowed."""


def known_settings(arguments: Mapping[str, Any], *, export_onnx: bool) -> dict[str, Any]:
    """Those arguments of an evaluator that are fields of TrainingSettings; what has no effect here is left out.

    Args:
        arguments: Arguments by name, among them those of Lightning's trainer; some may be unknown.
        export_onnx: NNI's argument; must be False.

    Raises:
        EvaluatorError: An argument is unknown, with the nearest known one, or `export_onnx` is True.
    """
    if export_onnx:
        raise EvaluatorError("export_onnx: a model is exported, with proof, by `hubserve export`; leave it False here")
    known = {field.name for field in fields(TrainingSettings)}
    for name in arguments:
        if name not in known | WITHOUT_EFFECT:
            raise EvaluatorError(f"unknown argument {name!r}: {INSTEAD.get(name) or suggest(name, known)}")
    return {name: value for name, value in arguments.items() if name in known}


def limit(length: int, wanted: int | float) -> int:
    """Number of batches that are used of `length`, at least one; `wanted` counts them or is a share."""
    return min(length, wanted) if isinstance(wanted, int) else max(1, int(length * wanted))


def _check_word(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise EvaluatorError(f"{name} = {value!r} is not one of {allowed}. {suggest(value, allowed)}")
