"""The interface of a one-shot search at work: one space, shared weights, and a step for each training batch."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping
from typing import Any

from hubserve.data.loaders import Batch
from hubserve.space import Arch
from hubserve.supernet import Supernet

OneShotProgress = dict[str, Any]
"""One row of the history: "step", "epoch" and "train_loss"; "val_loss", where a strategy learns from validation data; for
strategies that learn probabilities, "probabilities" (label -> candidate -> number) and "entropy" (label -> nats)."""


class OneShotSearch(abc.ABC):
    """The state of a one-shot strategy that searches one space.

    A `OneShotStrategy` holds the settings and makes one of these for each run. Calls come in this order: `prepare`, then for
    each epoch `begin`, a `step` for each training batch, and `end`.

    Attributes:
        supernet: The shared weights that are trained.
        cost_r2: As in `OneShotResult`; known after `prepare`.
    """

    supernet: Supernet
    cost_r2: float | None = None

    @abc.abstractmethod
    def prepare(self, x: Any) -> int:
        """Makes what depends on the shape of the inputs.

        Args:
            x: The inputs of one training batch.

        Returns:
            Estimated bytes of a step on such batches: weights, gradients, the optimizer's state, and activations.
        """

    @abc.abstractmethod
    def begin(self, epoch: int, val_batches: Iterator[Batch]) -> None:
        """Starts an epoch.

        Args:
            epoch: Number of the epoch, from 0.
            val_batches: The validation data again and again, each time in another order; it never ends.
        """

    @abc.abstractmethod
    def step(self, x: Any, target: Any) -> OneShotProgress:
        """Takes one step on a training batch and returns its row of the history, without "step" and "epoch"."""

    def end(self, epoch: int) -> None:
        """Ends an epoch of which all training batches have been seen."""

    @abc.abstractmethod
    def arch(self) -> Arch | None:
        """The canonical arch found so far; None where the strategy only trains the weights."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that steps change: tensors, numbers, strings, and lists and dicts of them; no copies."""

    @abc.abstractmethod
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on where `state_dict` was taken; call it after `prepare`."""
