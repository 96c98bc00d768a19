"""Context managers in which a network trains or scores faster on the CPU, with the same results but for rounding."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from torch import nn

from hubserve.training.depthwise_gradients import faster_depthwise_gradients
from hubserve.training.kept_memory import kept_memory
from hubserve.training.memory_format import in_training_format


@contextmanager
def faster_on_cpu(network: nn.Module) -> Iterator[None]:
    """Context manager of `faster_depthwise_gradients` and `kept_memory`; for a network on another device, it does nothing."""
    if not _is_on_cpu(network):
        yield
        return
    with kept_memory(), faster_depthwise_gradients(network):
        yield


@contextmanager
def faster_scoring_on_cpu(network: nn.Module, *, channels_last: bool) -> Iterator[None]:
    """Context manager in which a network runs faster without gradients; for a network on another device, it does nothing.

    Memory is kept (`kept_memory`), and the weights have the format in which they are trained (`in_training_format`).

    Args:
        network: The network; afterwards its weights are contiguous.
        channels_last: Whether the network accepts images with the channels last in memory, as `ModelSpace.channels_last` says;
            False leaves the weights as they are.
    """
    if not _is_on_cpu(network):
        yield
        return
    with kept_memory(), in_training_format(network) if channels_last else nullcontext():
        yield


def _is_on_cpu(network: nn.Module) -> bool:
    """Returns whether a parameter of the network is on the CPU."""
    return any(tensor.device.type == "cpu" for tensor in network.parameters())
