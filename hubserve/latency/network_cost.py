"""The work of a network beside its time: parameters, multiply-accumulates, bytes, and what a lookup table predicted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hubserve.complexity import Complexity
from hubserve.latency.profile_report import NetworkCost
from hubserve.latency.tables.table import LatencyTable
from hubserve.operations import trace_operations
from hubserve.space import ModelSpace

BYTES = 4
"""Of a number in float32."""


def cost_of(
    space: ModelSpace,
    arch: Mapping[str, Any],
    input_size: int,
    *,
    measured_ms: float | None = None,
    table: LatencyTable | None = None,
) -> NetworkCost:
    """The cost of an arch for one picture.

    Args:
        space: with its settings applied.
        arch: label -> value.
        input_size: side of the picture, in pixels.
        measured_ms: of one call at batch 1.
        table: to predict that with.

    Raises:
        ArchError: the arch is not of the space.
        ProfileError: the table is of another space.
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
