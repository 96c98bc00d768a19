"""`find_optimizer` and `find_schedule`: optimizers and learning-rate schedules by the names that job files use."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from hubserve.errors import EvaluatorError
from hubserve.similar_names import suggest

MakeOptimizer = Callable[..., Optimizer]
"""Function (parameters, lr=..., weight_decay=...) -> optimizer: a class of torch.optim, or a functools.partial of one."""

MakeSchedule = Callable[[Optimizer, int], LRScheduler]
"""Function (optimizer, number of steps) -> scheduler, which is stepped after each step."""

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
"""Name -> function from the share of the training that is done, in [0, 1], to the factor of the learning rate."""


def find_optimizer(wanted: str | MakeOptimizer) -> MakeOptimizer:
    """Returns the optimizer of `OPTIMIZERS` with the name `wanted`; returns a function unchanged.

    Raises:
        EvaluatorError: There is no optimizer with this name.
    """
    if not isinstance(wanted, str):
        return wanted
    if wanted not in OPTIMIZERS:
        raise EvaluatorError(f"no optimizer {wanted!r}. {suggest(wanted, OPTIMIZERS)} Or give a class of torch.optim.")
    return OPTIMIZERS[wanted]


def find_schedule(wanted: str | MakeSchedule | None, warm_up: float) -> MakeSchedule | None:
    """Returns the function that makes the named schedule; None for a constant learning rate.

    Args:
        wanted: "cosine", "step", "none", or None, which is the same as "none"; or a function from the optimizer and the number
            of steps to a scheduler, which is returned as it is.
        warm_up: Share of the steps, in [0, 1), over which a named schedule, "none" included, first rises from near 0 to the
            learning rate. It is not used for a function.

    Raises:
        EvaluatorError: There is no such name, or `warm_up` is outside of its range.
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
