"""Finds the layer of a network that computes the logits; its input is the features of an image."""

import threading

import torch
from torch import Tensor, nn


def last_layer(network: nn.Module, example: Tensor) -> nn.Linear | nn.Conv2d | None:
    """Returns the linear layer or convolution that computes the logits in evaluation; None where another module does.

    It is the last one that the network calls, if its output has as many numbers as the logits. Auxiliary heads, which are not
    called in evaluation, are not considered.

    Args:
        network: Network in eval mode.
        example: An input of the network, with the batch first.
    """
    called: list[tuple[nn.Linear | nn.Conv2d, int]] = []
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda owner, _, output: called.append((owner, output.numel()))) for layer in layers]
    try:
        with torch.no_grad():
            logits = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    if not called or not isinstance(logits, Tensor) or called[-1][1] != logits.numel():
        return None
    return called[-1][0]


class InputRecorder:
    """Context manager in which the inputs of a layer are recorded, for calls from this thread only.

    Args:
        layer: Layer whose inputs are recorded.
    """

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self._inputs: list[Tensor] = []

    def __enter__(self) -> "InputRecorder":
        self._thread = threading.get_ident()
        self._hook = self._layer.register_forward_pre_hook(self._record)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def features(self) -> Tensor:
        """Returns the input of the last call of the layer, (n, width)."""
        return self._inputs[-1].flatten(1)

    def _record(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        if threading.get_ident() == self._thread:  # Other threads may use the network at the same time.
            self._inputs.append(given[0])
