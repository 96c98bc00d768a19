"""How long and where an evaluator trains: the trainer arguments that people know from Lightning, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from hubserve.errors import EvaluatorError, suggest

WITHOUT_EFFECT = frozenset(
    {
        "benchmark", "check_val_every_n_epoch", "default_root_dir", "enable_checkpointing", "enable_model_summary",
        "enable_progress_bar", "log_every_n_steps", "logger", "num_sanity_val_steps", "profiler",
    }
)  # fmt: skip
"""Lightning's arguments about things that an experiment does by itself; accepted, so that scripts need no change."""

INSTEAD = {
    "gpus": "write accelerator='gpu', devices=1",
    "callbacks": "an experiment prunes, reports and saves by itself",
    "plugins": "devices and precision choose what is needed",
}

PRECISIONS = {
    "auto": "auto", "32": "32-true", "32-true": "32-true", "16": "16-mixed", "16-mixed": "16-mixed", "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
}  # fmt: skip
"""What may be asked for -> Lightning's name."""


@dataclass(frozen=True)
class TrainerSettings:
    """Arguments of Lightning's trainer that mean something here.

    Attributes:
        max_epochs: passes over the training data, at least 1 (Lightning's own default is 1000).
        max_steps: steps of the optimizer after which training ends; -1 has no such end.
        limit_train_batches: of each epoch: an int counts batches, a float in (0, 1] is a share.
        limit_val_batches: likewise of a validation.
        gradient_clip_val: largest norm of all gradients together; None clips nothing.
        accumulate_grad_batches: batches whose gradients make one step.
        accelerator: "cpu", "gpu" (also "cuda"), or "auto": a GPU where there is one.
        devices: processes that train together, each on its GPU, or on the CPU; "auto" is 1.
        strategy: "auto", or "ddp" to train on several devices.
        precision: "32-true", "16-mixed", "bf16-mixed", or "auto": mixed on CUDA, 32 bits elsewhere.
        deterministic: refuse operations that may differ from run to run.
        fast_dev_run: one epoch of one batch, to see whether all fits together.

    Raises:
        EvaluatorError: a value outside of these.
    """

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
        for name in ("max_epochs", "accumulate_grad_batches"):
            if getattr(self, name) < 1:
                raise EvaluatorError(f"{name} = {getattr(self, name)} must be at least 1")
        for name in ("limit_train_batches", "limit_val_batches"):
            _check_limit(name, getattr(self, name))
        _check_word("accelerator", self.accelerator, ("auto", "cpu", "gpu", "cuda"))
        _check_word("strategy", self.strategy, ("auto", "ddp", "ddp_spawn"))
        _check_word("precision", str(self.precision), tuple(PRECISIONS))
        if self.devices != "auto" and (not isinstance(self.devices, int) or self.devices < 1):
            raise EvaluatorError(f"devices = {self.devices!r}: a number of devices, at least 1, or 'auto'")

    @property
    def n_devices(self) -> int:
        """Processes that train together."""
        return 1 if isinstance(self.devices, str) else self.devices


def trainer_settings(arguments: Mapping[str, Any]) -> TrainerSettings:
    """The settings in `arguments`, which came as keywords.

    Raises:
        EvaluatorError: an argument is unknown, with the nearest known one, or has a value that is not allowed.
    """
    known = {field.name for field in fields(TrainerSettings)}
    for name in arguments:
        if name not in known | WITHOUT_EFFECT:
            raise EvaluatorError(f"unknown argument {name!r}: {INSTEAD.get(name) or suggest(name, known)}")
    return TrainerSettings(**{name: value for name, value in arguments.items() if name in known})


def limit(length: int, wanted: int | float) -> int:
    """Batches of `length` that are used: at least one."""
    return min(length, wanted) if isinstance(wanted, int) else max(1, int(length * wanted))


def _check_limit(name: str, value: int | float) -> None:
    if value <= 0 or (isinstance(value, float) and value > 1):
        raise EvaluatorError(f"{name} = {value!r}: an int of at least 1 counts batches, a float in (0, 1] is a share of them")


def _check_word(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise EvaluatorError(f"{name} = {value!r} is not one of {allowed}. {suggest(value, allowed)}")
