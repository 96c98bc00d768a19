"""`recalibrate_batch_norm`, which measures the running statistics of a network's batch norms again."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def recalibrate_batch_norm(model: nn.Module, batches: Iterable[tuple[Any, Any]], n: int = 32) -> int:
    """Recomputes the running statistics of all batch norms as plain averages over up to `n` training batches.

    A network taken from a supernet needs this before it is evaluated: its running statistics were updated by many networks in
    turn, and scores computed with them do not rank networks (Guo et al. 2020, "Single Path One-Shot",
    https://arxiv.org/abs/1904.00420, section 3.4). Weights and the training mode of each module stay unchanged.

    Args:
        model: The network.
        batches: Pairs (inputs, targets), with the inputs on the device of `model`; the targets are not used.
        n: Largest number of batches to use.

    Returns:
        The number of batches used; 0 if the model has no batch norm with running statistics, or `batches` is empty (the means
        are then 0 and the variances 1).
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not norms:
        return 0
    modes = [(module, module.training) for module in model.modules()]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # The plain mean over all batches.
        norm.train()
    used = 0
    try:
        with torch.no_grad():
            for x, _ in islice(batches, n):
                model(x)
                used += 1
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, training in modes:
            module.training = training
    return used
