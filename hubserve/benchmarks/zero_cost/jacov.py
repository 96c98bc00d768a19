"""`jacov`, the zero-cost score that measures how differently an untrained network reacts to changes of different images."""

import torch
from torch import nn

from hubserve.benchmarks.zero_cost.prepared_network import finite, scoring
from hubserve.data.loaders import Batch

SMALL = 1e-5
"""The constant k of the paper, which is added to each eigenvalue."""


def jacov(network: nn.Module, batch: Batch, *, seed: int = 0) -> float:
    """Returns the score of the correlations between the gradients of different images; larger is better.

    The gradient of an image is that of the sum of all logits of the batch with respect to its pixels. With the eigenvalues s of
    the matrix of correlations of these gradients, the score is the sum of -(log(s + k) + 1 / (s + k)), k = 1e-5; the largest
    value, minus the number of images, is that of gradients without correlations. Source: Mellor et al. 2020, "Neural
    Architecture Search without Training", first version, section 3 (https://arxiv.org/abs/2006.04647v1), which is the
    `jacob_cov` of Abdelfattah et al. 2021, "Zero-Cost Proxies for Lightweight NAS", section 3.2
    (https://arxiv.org/abs/2101.08134).

    What differs: a constant gradient, for which no correlation is defined, counts as an eigenvalue of 0, which is the worst.

    Args:
        network: An untrained network; it is not changed.
        batch: Images (batch, channels, height, width), at least two, and targets, which are not used. The value depends on the
            number of images: compare archs on the same batch.
        seed: Seed of random numbers that the network may draw.

    Raises:
        EvaluatorError: The batch is not valid, the network returns no tensor, or a value in it overflows.
    """
    with scoring(network, batch, seed=seed) as scored:
        images = scored.images.clone().requires_grad_()
        total = scored.logits(images).sum()
        gradient = torch.autograd.grad(total, images, allow_unused=True)[0] if total.requires_grad else None
        rows = torch.zeros_like(images) if gradient is None else gradient
        return finite("jacov", correlation_score(rows.flatten(1)), network)


def correlation_score(rows: torch.Tensor) -> torch.Tensor:
    """Returns the score, as `jacov` defines it, of the correlations between the rows (n, d); NaN if a value is not finite."""
    centred = rows.double().cpu()
    centred = centred - centred.mean(1, keepdim=True)
    lengths = centred.norm(dim=1, keepdim=True)
    unit = torch.where(lengths > 0, centred / lengths, 0.0)
    if not torch.isfinite(rows).all():
        return torch.tensor(torch.nan)
    eigenvalues = torch.linalg.eigvalsh(unit @ unit.T).clamp(min=0)
    return -((eigenvalues + SMALL).log() + 1 / (eigenvalues + SMALL)).sum()
