"""An exponential moving average of weights, which often scores better than the last weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hubserve.errors import EvaluatorError


class MovingAverage:
    """The average of a module's parameters and buffers over its steps.

    Over the first steps the average forgets sooner, by (1 + n) / (10 + n), so that short trainings are not averaged with
    their beginning (as in TensorFlow's ExponentialMovingAverage with `num_updates`).

    Args:
        model: whose weights are averaged; they are copied.
        decay: share of the average that a step keeps, in (0, 1).

    Raises:
        EvaluatorError: `decay` is not in (0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        check_decay(decay)
        self._decay = decay
        self._steps = 0
        self._average = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Takes in the weights after a step."""
        self._steps += 1
        keep = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, tensor in model.state_dict().items():
            average = self._average[name]
            if average.is_floating_point():
                average.lerp_(tensor, 1 - keep)
            else:
                average.copy_(tensor)

    def swap(self, model: nn.Module) -> None:
        """Exchanges the weights of `model` and the average; a second call exchanges them back."""
        current: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self._average)
        self._average = current


def check_decay(decay: float) -> None:
    """Raises EvaluatorError unless `decay` lies in (0, 1)."""
    if not 0.0 < decay < 1.0:
        raise EvaluatorError(f"ema_decay = {decay} must lie in (0, 1)")
