"""Optimizers and learning-rate schedules by name, so that a job file can say which."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from hubserve.errors import EvaluatorError, suggest

MakeOptimizer = Callable[..., Optimizer]
"""Called as make(parameters, lr=..., weight_decay=...): a class of torch.optim, or a functools.partial of one."""

MakeSchedule = Callable[[Optimizer, int], LRScheduler]
"""(optimizer, number of steps) -> a scheduler that is stepped after each of them."""

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
}

SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "none": lambda done: 1.0,
    # A tenth after half of the steps, and again after three quarters: He et al. 2016.
    "step": lambda done: 0.1 ** ((done >= 0.5) + (done >= 0.75)),
}
"""Name -> share of the training that is done, in [0, 1] -> factor of the learning rate."""


def find_optimizer(wanted: str | MakeOptimizer) -> MakeOptimizer:
    """An optimizer by its name, or itself; raises EvaluatorError."""
    if not isinstance(wanted, str):
        return wanted
    if wanted not in OPTIMIZERS:
        raise EvaluatorError(f"no optimizer {wanted!r}. {suggest(wanted, OPTIMIZERS)} Or give a class of torch.optim.")
    return OPTIMIZERS[wanted]


def find_schedule(wanted: str | MakeSchedule | None, warm_up: float) -> MakeSchedule | None:
    """A schedule by its name, or itself; None where the learning rate stays as it is.

    Args:
        wanted: "cosine", "step", "none", or a function of the optimizer and the number of steps.
        warm_up: share of the steps, in [0, 1), over which a named schedule rises from zero first.

    Raises:
        EvaluatorError: unknown name, or a warm-up outside of its range.
    """
    if not 0.0 <= warm_up < 1.0:
        raise EvaluatorError(f"warm_up = {warm_up} is a share of all steps and must lie in [0, 1)")
    if callable(wanted):
        return wanted
    name = wanted or "none"
    if name not in SCHEDULES:
        raise EvaluatorError(f"no schedule {name!r}. {suggest(name, SCHEDULES)}")
    return None if name == "none" and warm_up == 0.0 else partial(_named, name, warm_up)


def _named(name: str, warm_up: float, optimizer: Optimizer, total_steps: int) -> LRScheduler:
    def factor(step: int) -> float:
        done = min(1.0, step / total_steps)
        # The first step of a warm-up is a small one, not none at all.
        rising = (step + 1) / (warm_up * total_steps) if done < warm_up else 1.0
        return min(1.0, rising) * SCHEDULES[name](max(0.0, done - warm_up) / (1 - warm_up))

    return LambdaLR(optimizer, factor)
