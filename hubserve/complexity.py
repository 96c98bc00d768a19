"""Parameters and multiply-accumulates (MACs) of a network, counted over the operations that one forward pass executes."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from hubserve.operations import UNKNOWN, Operation, trace_operations


class UncountedOperationWarning(UserWarning):
    """A network executes an operation whose multiply-accumulates are not known."""


@dataclass(frozen=True)
class Complexity:
    """Size and work of a network for one input.

    A multiply-accumulate (MAC) is one multiplication with its addition; what papers call FLOPs is this number or twice it.
    Biases, normalisation, activations, pooling and element-wise operations count as 0, as in the published figures of mobile
    networks.

    Attributes:
        params: Number of elements of all parameters; buffers are not counted.
        conv_macs: MACs of convolutions.
        linear_macs: MACs of matrix products with a weight.
        attention_macs: MACs of products between activations; papers differ on whether they count them.
        uncounted: Name of each operation whose work is not known -> how often it is executed; none of the numbers includes it.
    """

    params: int
    conv_macs: int
    linear_macs: int
    attention_macs: int
    uncounted: dict[str, int]

    @property
    def macs(self) -> int:
        """MACs of convolutions and linear layers."""
        return self.conv_macs + self.linear_macs

    @classmethod
    def of(cls, model: nn.Module, operations: Sequence[Operation]) -> Complexity:
        """Counts the parameters of `model` and sums the MACs of `operations`, which `trace_operations` found in it."""
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


def complexity(model: nn.Module, input_shape: tuple[int, ...]) -> Complexity:
    """Parameters and MACs of `model` for one input; nothing is computed, and `model` is not changed.

    Warns with UncountedOperationWarning where the work of an operation is not known.

    Args:
        model: Network on any device, in any mode; it is counted in eval mode.
        input_shape: Shape of one input without the batch dimension, (channels, height, width) for images.
    """
    found = Complexity.of(model, trace_operations(copy.deepcopy(model).to("meta").eval(), (1, *input_shape)))
    if found.uncounted:
        warnings.warn(
            f"MACs leave out {', '.join(sorted(found.uncounted))}: no formula is known for them",
            UncountedOperationWarning,
            stacklevel=2,
        )
    return found
