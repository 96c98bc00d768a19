"""Computes the cost of a network for the profile: parameters, multiply-accumulates, bytes moved, and predicted latency."""

from collections.abc import Mapping
from typing import Any

import torch

from hubserve.complexity import Complexity
from hubserve.latency.profile_report import NetworkCost
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.operations import Inputs, trace_operations
from hubserve.space import ModelSpace

BYTES = 4
"""Size of a float32 number in bytes."""


def cost_of(
    space: ModelSpace,
    arch: Mapping[str, Any],
    inputs: Inputs,
    *,
    measured_ms: float | None = None,
    table: LatencyTable | None = None,
) -> NetworkCost:
    """Returns the cost of a call of an arch. The network is only traced, on the meta device, and not run.

    Args:
        space: Model space with its settings.
        arch: Chosen value of each choice, by label.
        inputs: Inputs of the network: the shape of its only one, (1, channels, height, width) for an image; or its arguments.
        measured_ms: Measured latency of this call, in milliseconds; None if it was not measured.
        table: Lookup table that predicts the latency; None makes no prediction.

    Raises:
        ArchError: The arch does not belong to the space.
        ProfileError: The table is empty, of another space or other settings, or has no operation of a kind that is needed.
    """
    with torch.device("meta"):
        model = space.freeze(arch)
    operations = trace_operations(model.eval(), inputs)
    work = Complexity.of(model, operations)
    moved = BYTES * sum(operation.elements for operation in operations)
    predicted = None if table is None else table.predict(space, arch)
    macs = work.macs + work.attention_macs
    return NetworkCost(
        params=work.params,
        macs=macs,
        bytes_moved=moved,
        macs_per_byte=macs / moved,
        gmacs_per_second=macs / measured_ms / 1e6 if measured_ms else None,
        predicted_ms=predicted,
        measured_ms=measured_ms,
        prediction_error=predicted / measured_ms - 1 if predicted is not None and measured_ms else None,
    )
