"""`Devices`, the interface between a training loop and its device, and `OneDevice`, training on the CPU or one GPU."""

import contextlib
from typing import Any, Protocol

import torch
from torch import nn

from hubserve.errors import EvaluatorError
from hubserve.training.settings import ACCELERATORS, PRECISIONS, TrainingSettings, check_word


class Devices(Protocol):
    """The interface through which a training loop uses its device, or the devices of several processes that train together.

    Attributes:
        device: Device of the model and the batches in this process.
        part: Pair (i, n): this process is the i-th, from 0, of n that train together.
    """

    device: torch.device
    part: tuple[int, int]

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Returns the model and the optimizer that the loop must use in place of those that are passed.

        If several processes train together, the returned model averages the gradients over them.
        """

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Returns a context manager in which forward passes run in the precision of the settings."""

    def backward(self, loss: torch.Tensor) -> None:
        """Computes the gradients of `loss`."""

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, clip: float | None) -> None:
        """Takes a step of the optimizer; if `clip` is not None, clips the norm of all gradients together to `clip` before."""

    def total(self, sums: torch.Tensor) -> torch.Tensor:
        """Returns the sum of the tensor `sums` over all processes."""

    def copy_buffers_from_first(self, model: nn.Module) -> None:
        """Copies the buffers of the model, such as batch norm statistics, from the first process to all others."""

    def value_of_first(self, value: bool) -> bool:
        """Returns, in every process, the `value` that the first process passed."""


class OneDevice:
    """An implementation of `Devices` for a training in this process, on the CPU or one GPU.

    Args:
        settings: Settings whose `accelerator` and `precision` are used.

    Raises:
        EvaluatorError: The settings ask for a GPU and there is none, or for "16-mixed" on the CPU.
    """

    part = (0, 1)

    def __init__(self, settings: TrainingSettings) -> None:
        self.device = torch.device(device_kind(settings.accelerator))
        self._dtype = autocast_dtype(settings.precision, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._dtype is torch.float16)

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        return model, optimizer

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self._dtype)

    def backward(self, loss: torch.Tensor) -> None:
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, clip: float | None) -> None:
        if clip is not None:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        self._scaler.step(optimizer)
        self._scaler.update()

    def total(self, sums: torch.Tensor) -> torch.Tensor:
        return sums

    def copy_buffers_from_first(self, model: nn.Module) -> None:
        """Does nothing, since there is no other process."""

    def value_of_first(self, value: bool) -> bool:
        return value


def device_kind(accelerator: str) -> str:
    """Returns the kind of device, "cuda" or "cpu", for a value of `TrainingSettings.accelerator`.

    Raises:
        EvaluatorError: `accelerator` is not one of `ACCELERATORS`, or it is "gpu" or "cuda" and there is no GPU.
    """
    check_word("accelerator", accelerator, ACCELERATORS)
    available = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") and not available:
        raise EvaluatorError(f"accelerator = {accelerator!r} and torch finds no CUDA device; use 'auto' or 'cpu'")
    return "cuda" if available and accelerator != "cpu" else "cpu"


def check_gpus(count: int, kind: str) -> None:
    """Checks that each of `count` processes that train together can have a GPU of its own, if `kind` is "cuda".

    Raises:
        EvaluatorError: There are fewer GPUs.
    """
    if kind == "cuda" and count > torch.cuda.device_count():
        raise EvaluatorError(
            f"devices = {count}, and torch finds {torch.cuda.device_count()} CUDA devices, of which each process needs its "
            "own; use fewer, or the CPU"
        )


def precision_on(kind: str, precision: str | int) -> str:
    """Returns Lightning's name of a precision.

    Args:
        kind: Kind of device, "cuda" or "cpu".
        precision: A value of `TrainingSettings.precision`; "auto" becomes "16-mixed" for "cuda" and "32-true" for "cpu".
    """
    name = PRECISIONS[str(precision)]
    return name if name != "auto" else "16-mixed" if kind == "cuda" else "32-true"


def autocast_dtype(precision: str | int, device: torch.device) -> torch.dtype | None:
    """Returns the data type for `torch.autocast`, or None if the network computes in the 32 bits of its weights.

    Raises:
        EvaluatorError: The precision is "16-mixed" and the device the CPU.
    """
    name = precision_on(device.type, precision)
    if name == "16-mixed" and device.type == "cpu":
        raise EvaluatorError("precision = '16-mixed' needs a CUDA device; on the CPU use '32-true' or 'bf16-mixed'")
    return {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}[name]
