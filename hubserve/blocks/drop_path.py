"""Drop path: whole samples of one branch of a sum are set to zero in training."""

import torch
from torch import nn

from hubserve.errors import SpaceError


def check_drop_path_prob(prob: float, *, where: str) -> None:
    """Raises SpaceError, which names the setting `where`, unless `prob` is in [0, 1)."""
    if not 0.0 <= prob < 1.0:
        raise SpaceError(f"{where} = {prob} must lie in [0, 1)")


def drop_path(x: torch.Tensor, prob: float) -> torch.Tensor:
    """`x` with whole samples set to zero, each with probability `prob`; the others are divided by 1 - prob.

    The expected value does not change. The function drops in every call; call it in training only. Larsson et al. 2016,
    "FractalNet", section 3.1 (https://arxiv.org/abs/1605.07648), drawn per sample as in the code of DARTS.

    Args:
        x: Tensor (batch, ...).
        prob: Probability in [0, 1); it is not checked.
    """
    keep = 1.0 - prob
    mask = x.new_empty([x.shape[0]] + [1] * (x.dim() - 1)).bernoulli_(keep)
    return x * (mask / keep)


class DropPath(nn.Module):
    """`drop_path` as a layer: active in training only.

    Args:
        prob: Probability in [0, 1). The attribute may be changed at any time, for a schedule.

    Shapes:
        forward: x (batch, ...) -> the same shape.

    Raises:
        SpaceError: `prob` is not in [0, 1).
    """

    def __init__(self, prob: float = 0.0) -> None:
        super().__init__()
        check_drop_path_prob(prob, where="DropPath: prob")
        self.prob = prob

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return drop_path(x, self.prob) if self.training and self.prob > 0.0 else x
