"""The work of a network, compared with its latency: parameters, multiply-accumulates, bytes, and a predicted latency."""

from collections.abc import Mapping
from typing import Any

import torch

from hubserve.complexity import Complexity
from hubserve.latency.profile_report import NetworkCost
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.operations import trace_operations
from hubserve.space import ModelSpace

BYTES = 4
"""Bytes of a number in float32."""


def cost_of(
    space: ModelSpace,
    arch: Mapping[str, Any],
    input_size: int,
    *,
    measured_ms: float | None = None,
    table: LatencyTable | None = None,
) -> NetworkCost:
    """The work of an arch for one image; nothing is computed, as the weights are on the meta device.

    Args:
        space: Model space with its settings.
        arch: Chosen value of each choice, by label.
        input_size: Side of the image, in pixels.
        measured_ms: Measured latency of a call with one image, in ms; None where it was not measured.
        table: Lookup table that predicts the latency; None for no prediction.

    Raises:
        ArchError: The arch is not of the space.
        ProfileError: The table is of another space.
    """
    with torch.device("meta"):
        model = space.freeze(arch)
    operations = trace_operations(model.eval(), (1, 3, input_size, input_size))
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
