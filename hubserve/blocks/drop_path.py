"""Drop path: stochastic depth for one branch of a sum."""

from __future__ import annotations

import torch


def drop_path(x: torch.Tensor, prob: float) -> torch.Tensor:
    """`x` with whole samples set to zero, each with probability `prob`; the rest is divided by 1 - prob: the mean stays.

    For training only; the caller asks whether it is. Larsson et al. 2016, "FractalNet", section 3.1
    (https://arxiv.org/abs/1605.07648), drawn per sample as in the code of DARTS.

    Args:
        x: (batch, ...).
        prob: in [0, 1).
    """
    keep = 1.0 - prob
    mask = x.new_empty([x.shape[0]] + [1] * (x.dim() - 1)).bernoulli_(keep)
    return x * (mask / keep)
