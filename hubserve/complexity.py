"""Counts the parameters of a network and the multiply-accumulates (MACs) of one forward pass."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from hubserve.operations import UNKNOWN, Inputs, Operation, trace_operations


class UncountedOperationWarning(UserWarning):
    """Warning that a network executes an operation for which no formula of its multiply-accumulates is known."""


@dataclass(frozen=True)
class Complexity:
    """Number of parameters and multiply-accumulates of a network.

    A multiply-accumulate (MAC) is one multiplication and one addition; what papers call FLOPs is the number of MACs or twice
    that number. Biases, normalisation, activations, pooling and element-wise operations count as 0, as in the published
    figures of mobile networks. So do looking up embeddings, sums along an axis and comparisons. Convolutions count in one, two
    or three dimensions; what is computed for padding counts as well.

    Attributes:
        params: Number of elements of all parameters; buffers are not counted.
        conv_macs: MACs of convolutions.
        linear_macs: MACs of linear layers, which are products of activations with a weight matrix.
        attention_macs: MACs of products of two activations, as in attention; papers differ on whether they count them.
        uncounted: Name of each operation whose MACs are not known -> number of its executions. No other attribute includes
            their MACs.
    """

    params: int
    conv_macs: int
    linear_macs: int
    attention_macs: int
    uncounted: dict[str, int]

    @property
    def macs(self) -> int:
        """The MACs of convolutions and linear layers; those of attention are not included."""
        return self.conv_macs + self.linear_macs

    @classmethod
    def of(cls, model: nn.Module, operations: Sequence[Operation]) -> Complexity:
        """Counts the parameters of `model` and sums the MACs of `operations`, which `trace_operations` returned for it."""
        macs = Counter[str]()
        for operation in operations:
            macs[operation.kind] += operation.macs
        names = (operation.kind.removeprefix(UNKNOWN) for operation in operations if operation.kind.startswith(UNKNOWN))
        return cls(
            params=sum(p.numel() for p in model.parameters()),
            conv_macs=macs["conv"],
            linear_macs=macs["linear"],
            attention_macs=macs["matmul"] + macs["attention"],
            uncounted=dict(Counter(names)),
        )


def complexity(model: nn.Module, inputs: Inputs) -> Complexity:
    """Counts the parameters of `model` and the MACs of one forward pass.

    A copy of the model on the meta device, in eval mode, is traced: no values are computed, and `model` is not changed. Warns
    with UncountedOperationWarning if the MACs of an operation are not known.

    Args:
        model: Network on any device, in training or eval mode.
        inputs: Shape of one input without the batch dimension, (channels, height, width) for images; or the arguments of the
            network, usually with a batch of one, such as `HubSpace.cost_inputs()`. For sequences, the MACs depend on their
            lengths.
    """
    arguments = inputs if any(isinstance(each, torch.Tensor) for each in inputs) else (1, *inputs)
    found = Complexity.of(model, trace_operations(copy.deepcopy(model).to("meta").eval(), arguments))
    if found.uncounted:
        warnings.warn(
            f"MACs leave out {', '.join(sorted(found.uncounted))}: no formula is known for them",
            UncountedOperationWarning,
            stacklevel=2,
        )
    return found
