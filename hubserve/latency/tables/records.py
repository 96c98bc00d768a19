"""What a lookup table consists of: times of operations and of whole networks, the calibration, and the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from scipy.stats import spearmanr

from hubserve.errors import ProfileError


class Record(BaseModel):
    """A part of a lookup table: it cannot be changed, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OperationTime(Record):
    """Time of one operation.

    Attributes:
        n: Number of calls.
        mean_ms: Mean of all calls, in ms.
        sd_ms: Standard deviation of all calls, in ms.
        p50_ms: Median of all calls, in ms.
        ms: Mean of the fastest three quarters, which predictions add up. It is steadier than the median, as the profiler of
            ONNX Runtime counts whole microseconds, and what else ran on the machine has no influence on it.
    """

    n: int
    mean_ms: float
    sd_ms: float
    p50_ms: float
    ms: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> OperationTime:
        """From the times of some calls, in ms. Raises ProfileError where there are none."""
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
    """How the latency of a network follows from the sums over its operations.

    An operation on its own finds its weights in the cache, where the call before left them; in a network other operations have
    pushed them out. So a network takes longer than the sum, by the more the more weights it has.

    Attributes:
        conv: Factor of the summed time of convolutions and matrix products.
        other: Factor of the summed time of all other operations.
        weight_ms: Milliseconds to read a million weights that are not in the cache.
        step_ms: Milliseconds between two operations.
        offset_ms: Milliseconds that every call takes besides.
    """

    conv: float = 1.0
    other: float = 1.0
    weight_ms: float = 0.0
    step_ms: float = 0.0
    offset_ms: float = 0.0


class NetworkTime(Record):
    """Time of one whole network, measured as it is served.

    Attributes:
        arch: Chosen value of each choice, by label.
        ms: Median of its calls, in ms.
        n: Number of calls.
        role: "fit" where the calibration was fitted to it, "check" where the error was measured on it.
    """

    arch: dict[str, Any]
    ms: float
    n: int
    role: Literal["fit", "check"]


class TableError(Record):
    """Error of the predictions, on networks from which nothing in the table was fitted.

    Attributes:
        networks: Number of networks.
        spearman: Spearman's rank correlation of prediction and measurement; None for fewer than three networks, or where
            one of the two is always the same.
        within_10: Share of networks, in [0, 1], whose prediction is at most 10 % off.
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
        """The error of (predicted, measured) ms of at least one network."""
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
    """A predicted latency.

    Attributes:
        ms: Milliseconds of one call.
        operations: Number of operations of the network.
        measured: Share of the summed time, in [0, 1], that was measured; the rest is estimated from similar operations.
    """

    ms: float
    operations: int
    measured: float
