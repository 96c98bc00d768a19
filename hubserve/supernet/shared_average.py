"""`SharedAverage`, an exponential moving average of the tensors of a supernet."""

from collections.abc import Mapping
from typing import Any

import torch

from hubserve.supernet.shared_tensors import SharedTensors, window
from hubserve.training.moving_average import moving_average


class SharedAverage:
    """The moving average of all tensors of a supernet, updated with their present values, also of those that a step left alone.

    Args:
        tensors: The shared tensors that are trained.
        decay: Largest share of the average that an update keeps, in (0, 1), as in `moving_average`.
    """

    def __init__(self, tensors: SharedTensors, decay: float) -> None:
        self._tensors = tensors
        self._decay = decay
        self._average = moving_average(tensors, decay)

    def update(self) -> None:
        """Includes the present weights in the average; call it after each step of the optimizer."""
        if _shapes(self._averaged) != _shapes(self._tensors):
            self._grow()
        self._average.update_parameters(self._tensors)

    def copy_to_tensors(self) -> None:
        """Copies the averages into the shared tensors. Networks made before see them, unless tensors have grown."""
        self._tensors.load_state_dict(self._averaged.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Returns {"tensors": averages by key, "updates": number of updates}. Nothing is copied."""
        return {"tensors": self._averaged.state_dict(), "updates": int(self._average.n_averaged)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a state returned by `state_dict`. Load the shared tensors first."""
        self._start_anew(state_dict["updates"])
        self._averaged.load_state_dict(state_dict["tensors"])

    @property
    def _averaged(self) -> SharedTensors:
        found = self._average.module
        if not isinstance(found, SharedTensors):
            raise TypeError(f"the average is a {type(found).__name__}")
        return found

    def _start_anew(self, updates: int) -> None:
        self._average = moving_average(self._tensors, self._decay)
        self._average.n_averaged.fill_(updates)

    @torch.no_grad()
    def _grow(self) -> None:
        """Takes in tensors that were added or enlarged: their new parts begin with the present values."""
        before = self._averaged
        self._start_anew(int(self._average.n_averaged))
        for key in before:
            part = window(self._averaged[key], before[key].shape, centred=key in before.centred)
            part.copy_(before[key])


def _shapes(tensors: SharedTensors) -> list[tuple[str, torch.Size]]:
    return [(key, tensors[key].shape) for key in tensors]
