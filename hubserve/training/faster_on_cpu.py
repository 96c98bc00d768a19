"""Context managers in which a network trains or scores faster on the CPU, with the same results but for rounding."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from hubserve.training.depthwise_gradients import faster_depthwise_gradients
from hubserve.training.kept_memory import kept_memory
from hubserve.training.memory_format import in_training_format


@contextmanager
def faster_on_cpu(network: nn.Module) -> Iterator[None]:
    """Context manager of `faster_depthwise_gradients` and `kept_memory`; for a network on another device, it does nothing."""
    device = _device(network)
    with kept_memory(device), faster_depthwise_gradients(network) if device.type == "cpu" else nullcontext():
        yield


@contextmanager
def faster_scoring_on_cpu(network: nn.Module, *, channels_last: bool) -> Iterator[None]:
    """Context manager in which a network runs faster without gradients; for a network on another device, it does nothing.

    Memory is kept (`kept_memory`), and the weights have the format in which they are trained (`in_training_format`).

    Args:
        network: The network.
        channels_last: Whether the network accepts images with the channels last in memory, as `ModelSpace.channels_last` says.
            True makes its weights contiguous afterwards; False leaves them as they are.
    """
    device = _device(network)
    with kept_memory(device), in_training_format(network) if channels_last and device.type == "cpu" else nullcontext():
        yield


def _device(network: nn.Module) -> torch.device:
    """Returns the device of the first parameter of the network; the CPU if there is none."""
    return next((tensor.device for tensor in network.parameters()), torch.device("cpu"))
