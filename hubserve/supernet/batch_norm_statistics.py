"""Recalibration of batch norms: running statistics measured again for one network."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def recalibrate_batch_norm(model: nn.Module, batches: Iterable[tuple[Any, Any]], n: int = 32) -> int:
    """Sets the statistics of all batch norms to plain averages over up to `n` training batches.

    Statistics that many networks shared fit none of them, and scores with them do not rank networks (Guo et al. 2020, "Single
    Path One-Shot", https://arxiv.org/abs/1904.00420, section 3.4). Weights, and the modes of all modules, stay as they are.

    Args:
        model: The network; the batches are on its device.
        batches: Pairs (inputs, targets); the targets are not used.
        n: Largest number of batches to use.

    Returns:
        Number of batches that were used; 0 where the model has no batch norm with running statistics.
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
