"""`scoring`: the copy of a network, and the batch on its device, with which a zero-cost score is computed."""

import contextlib
import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from hubserve.data.loaders import Batch
from hubserve.errors import EvaluatorError, UndefinedScoreError
from hubserve.training.seeding import seeded

ALWAYS = "snip and jacov are defined for every network with convolutions or linear layers, params and macs for all networks"
"""Sentence for the errors of the other scores."""


@dataclass(frozen=True)
class ScoredNetwork:
    """A copy of a network, and a batch, with which a score is computed.

    Attributes:
        network: The copy. It is in eval mode, so that dropout, drop path and auxiliary heads are off, but its batch norms
            normalise by the statistics of the batch, since those of a new network are not measured yet. All its parameters
            require gradients.
        images: Images (batch, channels, height, width) of the batch, on the device of the network.
        targets: Class indices (batch,) of the batch, on the same device.
    """

    network: nn.Module
    images: torch.Tensor
    targets: torch.Tensor

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the output of the copy for a batch of images; of several outputs, the first.

        Raises:
            EvaluatorError: The output is no tensor.
        """
        output = self.network(images.clone())  # A copy, since the first layer may work in place.
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if not isinstance(first, torch.Tensor):
            raise EvaluatorError(f"{self.name} returned a {type(output).__name__}; a score needs a network that returns logits")
        return first

    def weights(self, score: str) -> list[torch.Tensor]:
        """Returns the weights of all convolutions and linear layers of the copy, without biases, each parameter once.

        Raises:
            UndefinedScoreError: There are none; the message names the `score` that needs them.
        """
        layers = (module for module in self.network.modules() if isinstance(module, (_ConvNd, nn.Linear)))
        found = list(dict.fromkeys(layer.weight for layer in layers))
        if not found:
            raise UndefinedScoreError(
                f"{score} is not defined for {self.name}: it has no convolution and no linear layer. params and macs are "
                "defined for all networks"
            )
        return found

    @property
    def name(self) -> str:
        """Name of the class of the network, for messages."""
        return type(self.network).__name__


@contextlib.contextmanager
def scoring(network: nn.Module, batch: Batch, *, seed: int) -> Iterator[ScoredNetwork]:
    """Context manager that yields a copy of a network and a batch for computing a score; the network is not changed.

    In its block gradients are enabled, and torch's random number generators are seeded; their state is restored at the end.

    Args:
        network: Network on any device, in training or eval mode.
        batch: Images (batch, channels, height, width), at least two, and class indices (batch,), on any device.
        seed: Seed of the random numbers that are drawn in the block.

    Raises:
        EvaluatorError: The batch does not consist of at least two images and as many targets.
    """
    images, targets = batch
    if not isinstance(images, torch.Tensor) or images.dim() < 2 or len(images) < 2 or len(images) != len(targets):
        raise EvaluatorError(
            "a zero-cost score needs a batch (images, targets) of at least two images and as many targets; images are given as "
            f"{tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__}"
        )
    device = next((parameter.device for parameter in network.parameters()), images.device)
    copied = copy.deepcopy(network).eval().requires_grad_(True)
    for module in copied.modules():
        if isinstance(module, _BatchNorm):
            module.train()
    with seeded(seed), torch.enable_grad():
        yield ScoredNetwork(copied, images.detach().to(device), torch.as_tensor(targets, device=device))


def finite(score: str, value: torch.Tensor | float, network: nn.Module) -> float:
    """Returns `value` as a float.

    Raises:
        EvaluatorError: It is NaN or infinite, as after an overflow; the message names the `score` and the class of `network`.
    """
    number = float(value.detach() if isinstance(value, torch.Tensor) else value)
    if not math.isfinite(number):
        raise EvaluatorError(f"the {score} of {type(network).__name__} is {number}: a value in the network overflows. {ALWAYS}")
    return number
