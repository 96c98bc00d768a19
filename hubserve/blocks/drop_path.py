"""Drop path (stochastic depth): regularisation that sets the output of a branch to zero for random samples in training."""

import torch
from torch import nn

from hubserve.errors import SpaceError


def check_drop_path_prob(prob: float, *, where: str) -> None:
    """Raises SpaceError unless `prob` is in [0, 1); `where` is the name of the setting in the error message."""
    if not 0.0 <= prob < 1.0:
        raise SpaceError(f"{where} = {prob} must lie in [0, 1)")


def drop_path(x: torch.Tensor, prob: float) -> torch.Tensor:
    """Returns `x` with each sample set to zero with probability `prob`, and all other samples divided by 1 - prob.

    The expected value of the result is `x`. The function has no training flag: call it in training only. Source: Larsson et
    al. 2016, "FractalNet", section 3.1 (https://arxiv.org/abs/1605.07648). Each sample is drawn on its own, as in DARTS's code.

    Args:
        x: Tensor (batch, ...).
        prob: Probability in [0, 1); the function does not check it.
    """
    keep = 1.0 - prob
    mask = x.new_empty([x.shape[0]] + [1] * (x.dim() - 1)).bernoulli_(keep)
    return x * (mask / keep)


class DropPath(nn.Module):
    """A layer that applies `drop_path` in training and returns its input unchanged in evaluation.

    Args:
        prob: Probability in [0, 1). The attribute may be changed at any time, for example by a schedule.

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
