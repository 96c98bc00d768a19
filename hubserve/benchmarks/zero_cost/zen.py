"""`zen`, the zero-cost score that measures how much a network with Gaussian weights reacts to small changes of its input."""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils._python_dispatch import TorchDispatchMode

from hubserve.benchmarks.zero_cost.prepared_network import ALWAYS, ScoredNetwork, finite, scoring
from hubserve.data.loaders import Batch
from hubserve.errors import UndefinedScoreError

aten = torch.ops.aten

CHANGE = 0.01
"""The factor alpha of the paper on the change of the input."""

POOLING = (aten.mean, aten._adaptive_avg_pool2d, aten.avg_pool2d)
"""Operators of average pooling; one that leaves a single value for each image and channel is global."""


def zen(network: nn.Module, batch: Batch, *, seed: int = 0) -> float:
    """Returns the Zen-score of a network; larger is better.

    All weights and images are drawn from the standard normal distribution. The score is the logarithm of the mean length of the
    change of the features before the global average pooling when a hundredth of other such images is added, plus, for each
    batch norm, the logarithm of the standard deviation by which it divides. Source: Lin et al. 2021, "Zen-NAS: A Zero-Shot NAS
    for High-Performance Image Recognition", algorithm 1 (https://arxiv.org/abs/2102.01063).

    What differs: skip connections stay, because in a cell they are part of the arch; the paper removes them. One batch is
    drawn, and the means are those over its images. The standard deviation of a batch norm is the square root of the mean
    variance of its channels plus its `eps`, so that channels without variance do not give minus infinity; a change of 0 counts
    as the smallest normal number of 32 bits.

    Args:
        network: A network; it is not changed, and the values of its weights do not matter.
        batch: A batch whose images have the shape for which the network is scored, at least two; their values and the targets
            are not used.
        seed: Seed of the weights and images that are drawn.

    Raises:
        UndefinedScoreError: The network has no batch norm or no global average pooling, as transformers do not.
        EvaluatorError: The batch is not valid, the network returns no tensor, or a value in it overflows.
    """
    with scoring(network, batch, seed=seed) as scored, torch.no_grad():
        norms = [module for module in scored.network.modules() if isinstance(module, _BatchNorm)]
        if not norms:
            raise UndefinedScoreError(f"zen is not defined for {scored.name}: it has no batch norm. {ALWAYS}")
        _draw_weights(scored.network)
        images = torch.randn_like(scored.images)
        changed = images + CHANGE * torch.randn_like(images)
        logs: list[torch.Tensor] = []
        hooks = [norm.register_forward_pre_hook(lambda owner, given: logs.append(log_scale(owner, given[0]))) for norm in norms]
        features = _features(scored, images)
        for hook in hooks:
            hook.remove()
        change = (features - _features(scored, changed)).flatten(1).norm(dim=1).mean()
        scale = torch.stack(logs).sum() if logs else torch.zeros(())
        return finite("zen", change.clamp(min=torch.finfo(torch.float32).tiny).log() + scale, network)


def _draw_weights(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, (_ConvNd, nn.Linear)):
            module.weight.normal_()
            if module.bias is not None:
                module.bias.zero_()


def log_scale(norm: _BatchNorm, given: torch.Tensor) -> torch.Tensor:
    """Returns the logarithm of the standard deviation by which a batch norm divides its input (batch, channels, ...)."""
    variance = given.var((0, *range(2, given.dim())), correction=0).mean()
    return 0.5 * (variance + norm.eps).log()


def _features(scored: ScoredNetwork, images: torch.Tensor) -> torch.Tensor:
    """Returns the input (batch, channels, height, width) of the last global average pooling.

    Raises:
        UndefinedScoreError: There is no global average pooling.
    """
    with _PooledInput() as pooled:
        scored.logits(images)
    if pooled.last is None:
        raise UndefinedScoreError(f"zen is not defined for {scored.name}: it has no global average pooling. {ALWAYS}")
    return pooled.last


class _PooledInput(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the input of the last global average pooling in its block.

    Attributes:
        last: Tensor (batch, channels, height, width); None before the first one.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.last: torch.Tensor | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in POOLING and args[0].dim() == 4 and out.numel() == len(args[0]) * args[0].shape[1]:
            self.last = args[0]
        return out
