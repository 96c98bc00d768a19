"""Chooses the order of axes in memory with which a network is trained, and gives a network that order for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

FEWEST_CHANNELS = 8
"""Smallest number of input channels with which convolutions of 1 x 1 are trained with the channels last.

With 2 to 7, and a stride, oneDNN (of torch 2.14.1, on an AMD EPYC) writes behind the end of the gradient of the weights, which
ends the process or changes other numbers. The networks of the hub have more channels."""


def training_format(network: nn.Module) -> torch.memory_format:
    """Returns `torch.channels_last`, with which convolutions train faster on the CPU, or else `torch.contiguous_format`.

    The latter is returned if a weight of a 1 x 1 convolution has 2 to 7 input channels, see `FEWEST_CHANNELS`.

    Args:
        network: Network or supernet. Only the shapes of its parameters are checked, whatever the stride of a convolution is,
            since the parameters of a supernet say nothing of strides.
    """
    unsafe = any(tensor.shape[2:] == (1, 1) and 1 < tensor.shape[1] < FEWEST_CHANNELS for tensor in network.parameters())
    return torch.contiguous_format if unsafe else torch.channels_last


@contextmanager
def in_training_format(network: nn.Module) -> Iterator[None]:
    """Context manager in which the weights of `network` have its `training_format`; afterwards they are contiguous.

    Images need not be converted: a convolution follows the format of its weights.
    """
    network.to(memory_format=training_format(network))  # type: ignore[call-overload]
    try:
        yield
    finally:
        network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
