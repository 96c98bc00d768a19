"""The records in a lookup table: times of operations and of whole networks, the calibration, and the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from scipy.stats import spearmanr

from hubserve.errors import ProfileError


class Record(BaseModel):
    """Base class of the records in a lookup table, which are immutable and refuse unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OperationTime(Record):
    """Time of one operation.

    Attributes:
        n: Number of calls.
        mean_ms: Mean of all calls, in ms.
        sd_ms: Standard deviation of all calls, in ms; 0 if there is one call.
        p50_ms: Median of all calls, in ms.
        ms: Mean of the fastest three quarters of the calls (rounded down, at least one), in ms, from which predictions are
            computed. It varies less than the median, because the profiler of ONNX Runtime reports whole microseconds, and
            leaves out calls that other work on the machine slowed down.
    """

    n: int
    mean_ms: float
    sd_ms: float
    p50_ms: float
    ms: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> OperationTime:
        """Computes the record from the times of calls in milliseconds. Raises ProfileError if `samples` is empty."""
        if not samples:
            raise ProfileError("an operation was measured in no call")
        ordered = np.sort(np.asarray(samples, np.float64))
        kept = ordered[: max(1, len(ordered) * 3 // 4)]
        return cls(
            n=len(ordered),
            mean_ms=float(ordered.mean()),
            sd_ms=float(ordered.std(ddof=1)) if len(ordered) > 1 else 0.0,
            p50_ms=float(np.median(ordered)),
            ms=float(kept.mean()),
        )


class Calibration(Record):
    """Coefficients with which the latency of a network is computed from sums over its operations.

    When an operation is measured alone, its weights are still in the cache from the call before; in a network, other operations
    have replaced them there. Therefore a network takes longer than the sum of its operations, the more weights it has.

    Attributes:
        conv: Factor of the summed time of convolutions and matrix products.
        other: Factor of the summed time of all other operations.
        weight_ms: Additional milliseconds for each million weights, to read them from memory.
        step_ms: Additional milliseconds for each operation.
        offset_ms: Additional milliseconds for each call.
    """

    conv: float = 1.0
    other: float = 1.0
    weight_ms: float = 0.0
    step_ms: float = 0.0
    offset_ms: float = 0.0


class NetworkTime(Record):
    """Time of one whole network, exported to ONNX and run by ONNX Runtime.

    Attributes:
        arch: Chosen value of each choice, by label.
        ms: Median time of a call, in milliseconds.
        n: Number of calls.
        role: "fit" if the calibration is fitted to the network, "check" if the error is measured on it.
    """

    arch: dict[str, Any]
    ms: float
    n: int
    role: Literal["fit", "check"]


class TableError(Record):
    """Error of the predictions of a table, measured on networks to which its calibration was not fitted.

    Attributes:
        networks: Number of networks.
        spearman: Spearman's rank correlation of predicted and measured latencies; None for fewer than three networks, or if all
            predictions or all measurements are equal.
        within_10: Share of networks, in [0, 1], whose prediction is off by at most 10 %.
        mean_error: Mean of the absolute relative errors; 0.1 is 10 %.
        worst_error: Largest absolute relative error.
    """

    networks: int = Field(validation_alias=AliasChoices("networks", "nets"))
    spearman: float | None
    within_10: float
    mean_error: float
    worst_error: float

    @classmethod
    def of(cls, pairs: Sequence[tuple[float, float]]) -> TableError:
        """Computes the error from the latencies of networks.

        Args:
            pairs: Pairs (predicted, measured) of milliseconds, at least one; each measured latency is above 0.

        Raises:
            ValueError: There is no pair.
        """
        predicted, measured = np.array(pairs, np.float64).T
        relative = np.abs(predicted / measured - 1)
        ranked = len(measured) > 2 and np.ptp(predicted) > 0 and np.ptp(measured) > 0
        return cls(
            networks=len(measured),
            spearman=float(spearmanr(predicted, measured).statistic) if ranked else None,
            within_10=float((relative <= 0.1).mean()),
            mean_error=float(relative.mean()),
            worst_error=float(relative.max()),
        )


@dataclass(frozen=True)
class LatencyPrediction:
    """Latency of a network, as a lookup table predicts it.

    Attributes:
        ms: Predicted time of one call, in milliseconds.
        operations: Number of operations of the network.
        measured: Share of the summed time of the operations, in [0, 1], that was measured; the rest is estimated from similar
            operations.
    """

    ms: float
    operations: int
    measured: float
