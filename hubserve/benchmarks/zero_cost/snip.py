"""`snip`, the zero-cost score that sums how much the loss of an untrained network depends on each weight."""

import torch
from torch import nn

from hubserve.benchmarks.zero_cost.prepared_network import finite, scoring
from hubserve.data.loaders import Batch
from hubserve.errors import EvaluatorError


def snip(network: nn.Module, batch: Batch, *, seed: int = 0) -> float:
    """Returns the sum over all weights of |weight * gradient of the loss|; larger is better.

    The loss is the mean cross entropy of the batch; weights are those of convolutions and linear layers, without biases.
    Source: Lee et al. 2019, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", section 4
    (https://arxiv.org/abs/1810.02340), summed over the network as by Abdelfattah et al. 2021, "Zero-Cost Proxies for
    Lightweight NAS", section 3.2 (https://arxiv.org/abs/2101.08134).

    Args:
        network: An untrained classifier; it is not changed.
        batch: Images (batch, channels, height, width), at least two, and class indices (batch,).
        seed: Seed of random numbers that the network may draw.

    Raises:
        UndefinedScoreError: The network has no convolution and no linear layer.
        EvaluatorError: The batch is not valid, the network does not return logits (batch, classes), a target is not the index
            of a logit, or a value in the network overflows.
    """
    with scoring(network, batch, seed=seed) as scored:
        weights, logits = scored.weights("snip"), scored.logits(scored.images)
        if logits.dim() != 2 or scored.targets.min() < 0 or scored.targets.max() >= logits.shape[1]:
            raise EvaluatorError(
                f"snip: {scored.name} gives logits {tuple(logits.shape)}, and the targets of the batch are from "
                f"{int(scored.targets.min())} to {int(scored.targets.max())}: give the network as many classes as the data have"
            )
        loss = nn.functional.cross_entropy(logits, scored.targets)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        pairs = zip(weights, gradients, strict=True)
        sums = [(weight * gradient).abs().sum().detach() for weight, gradient in pairs if gradient is not None]
        return finite("snip", sum(map(float, sums)), network)
