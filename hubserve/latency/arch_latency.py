"""Latency of an arch as it will be served, for searches: exported to ONNX and timed here, or predicted by a lookup table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hubserve.errors import ExperimentError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.latency.format_latency import FormatLatency, Protocol, profile_runners
from hubserve.latency.tables.table import LatencyTable
from hubserve.package.formats import FORMATS
from hubserve.package.parity import random_batches
from hubserve.package.runner import Runner
from hubserve.space import Arch, ModelSpace

NAME = "latency_ms"

SEARCH_SECONDS, CHOICE_SECONDS = 1.0, 4.0
"""Most time to measure an arch during a search, and before it is chosen. Sampling ends sooner where the median is sure."""


@dataclass
class MeasuredLatency:
    """Median latency of a call, in ms, by ONNX Runtime on the CPU; a measure for `NasExperiment`.

    The weights do not matter, so fresh ones are exported. What is told is the upper bound of the median's 99 % confidence
    interval, so that an arch that meets a limit meets it when measured again. An arch is measured once.

    >>> limit, measure = Constraint("latency_ms", "<=", 5), MeasuredLatency(input_size=32)
    >>> NasExperiment(space, evaluator, strategy, constraints=[limit], measures={"latency_ms": measure})

    Attributes:
        input_size: side of the pictures, in pixels.
        batch_size: pictures of a call.
        threads: that a call may use.
        seconds: most time to measure.
    """

    input_size: int
    batch_size: int = 1
    threads: int = 1
    seconds: float = SEARCH_SECONDS
    _known: dict[str, float] = field(default_factory=dict, repr=False)

    def __call__(self, space: ModelSpace, arch: Arch) -> dict[str, float]:
        """{"latency_ms": ...}.

        Raises:
            ExportError: the arch cannot be exported.
        """
        key = repr(sorted(space.canonical(arch).items()))
        if key not in self._known:
            self._known[key] = sure_median(self.measure(space, arch))
        return {NAME: self._known[key]}

    def measure(self, space: ModelSpace, arch: Arch) -> FormatLatency:
        """All of it, measured anew."""
        with torch.random.fork_rng(devices=()), tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
            torch.manual_seed(0)
            example, *_ = random_batches((3, self.input_size, self.input_size), sizes=(2,))
            path = Path(folder) / FORMATS["onnx"].file
            WRITERS["onnx"](ExportableModel(space.freeze(arch).eval(), torch.from_numpy(example)), path)
            return self.time(lambda: FORMATS["onnx"].load(path, self.threads, "cpu"))

    def time(self, load: Callable[[], Runner]) -> FormatLatency:
        """Of a model that is exported already."""
        (batch,) = random_batches((3, self.input_size, self.input_size), sizes=(self.batch_size,))
        # As many calls as the 99th percentile takes: a burst of other work on the machine is a small share of them.
        protocol = Protocol(percent=99.0, max_seconds=self.seconds)
        (report,) = profile_runners({"onnx": load}, batch, threads=self.threads, protocol=protocol)
        return report


@dataclass(frozen=True)
class PredictedLatency:
    """The same of a lookup table, in milliseconds of work where measuring takes seconds; a measure for `NasExperiment`.

    >>> PredictedLatency(LatencyTable.load(path))  # of `hubserve latency-table build`

    Attributes:
        table: of the space, for the same pictures and calls.
    """

    table: LatencyTable

    def __call__(self, space: ModelSpace, arch: Arch) -> dict[str, float]:
        """{"latency_ms": ...}."""
        return {NAME: self.table.predict(space, arch)}


def sure_median(report: FormatLatency) -> float:
    """The upper bound of the median of a report, in ms.

    Raises:
        ExperimentError: there were too few calls to know one.
    """
    median = next(p for p in report.percentiles if p.percent == 50.0)
    if median.upper_bound is None:
        raise ExperimentError(
            f"{report.n} calls do not tell the median latency: it takes {median.needs}; the model is too slow"
        )
    return median.upper_bound
