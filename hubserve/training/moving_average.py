"""`moving_average`: an exponential moving average of the weights of a network during training."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """Returns an object that keeps the exponential moving average of the parameters and buffers of `model`.

    Call its method `update_parameters(model)` after each step of the optimizer; its attribute `module` is the averaged network.
    Update n, counted from 1, keeps a share of min(decay, (1 + n) / (10 + n)) of the average, so that the average of a short
    training is not dominated by the initial weights (as TensorFlow's ExponentialMovingAverage with `num_updates`). Buffers of
    integers are copied and not averaged.

    Args:
        model: Network that is trained.
        decay: Largest share of the average that an update keeps, in (0, 1).
    """
    averaged = AveragedModel(model, multi_avg_fn=partial(_average, decay), use_buffers=True)
    # At step 0 AveragedModel copies the weights in place of averaging them; the first step here is step 1.
    averaged.n_averaged += 1
    return averaged


@torch.no_grad()
def _average(decay: float, averages: list[Tensor], weights: list[Tensor], step: int | Tensor) -> None:
    keep = min(decay, (1 + int(step)) / (10 + int(step)))
    for average, weight in zip(averages, weights, strict=True):
        if average.is_floating_point():
            average.lerp_(weight, 1 - keep)
        else:
            average.copy_(weight)
