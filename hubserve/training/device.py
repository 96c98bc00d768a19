"""Where a training loop runs: one device here; `distributed.py` has the same for several."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import torch
from torch import nn

from hubserve.errors import EvaluatorError
from hubserve.training.settings import PRECISIONS, TrainerSettings


class Runtime(Protocol):
    """What a training loop needs to know of the machine.

    Attributes:
        device: of the model and the batches.
        part: (i, n): this process is the i-th of n that train together.
    """

    device: torch.device
    part: tuple[int, int]

    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The two as the loop should use them."""
        ...

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Forward passes run under it."""
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Gradients of `loss`."""
        ...

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer, clip: float | None) -> None:
        """Clips the gradients and takes a step of the optimizer."""
        ...

    def total(self, sums: torch.Tensor) -> torch.Tensor:
        """The sum of `sums` over all processes."""
        ...

    def agree(self, model: nn.Module) -> None:
        """Gives all processes the buffers of the first one."""
        ...

    def first_says(self, value: bool) -> bool:
        """The first process's `value`, in all of them."""
        ...


class OneDevice:
    """The CPU or one GPU, in this process.

    Args:
        settings: `accelerator` and `precision` of them.

    Raises:
        EvaluatorError: a GPU is asked for and there is none.
    """

    part = (0, 1)

    def __init__(self, settings: TrainerSettings) -> None:
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

    def agree(self, model: nn.Module) -> None:
        """Nobody else to agree with."""

    def first_says(self, value: bool) -> bool:
        return value


def device_kind(accelerator: str) -> str:
    """The kind of device that is meant: "cuda" or "cpu"."""
    available = torch.cuda.is_available()
    if accelerator in ("gpu", "cuda") and not available:
        raise EvaluatorError(f"accelerator = {accelerator!r} and torch finds no CUDA device; use 'auto' or 'cpu'")
    return "cuda" if available and accelerator != "cpu" else "cpu"


def autocast_dtype(precision: str | int, device: torch.device) -> torch.dtype | None:
    """The type that convolutions and matrix products compute in; None is that of the weights, 32 bits."""
    name = PRECISIONS[str(precision)]
    if name == "auto":
        name = "16-mixed" if device.type == "cuda" else "32-true"
    if name == "16-mixed" and device.type == "cpu":
        raise EvaluatorError("precision = '16-mixed' needs a CUDA device; on the CPU use '32-true' or 'bf16-mixed'")
    return {"32-true": None, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}[name]
