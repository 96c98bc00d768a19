"""Latency of an arch as a measure of searches: exported to ONNX and timed here, or predicted (`tables/table.py`)."""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hubserve.errors import ExperimentError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.latency.format_latency import FormatLatency, measure_formats
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.package.formats import FORMATS
from hubserve.package.parity import random_batches
from hubserve.package.runner import Runner
from hubserve.space import Arch, ModelSpace
from hubserve.timing import Clock, TimingProtocol

NAME = "latency_ms"

SEARCH_SECONDS, CHOICE_SECONDS = 1.0, 4.0
"""Most seconds to measure an arch during a search, and before it is chosen. Sampling ends sooner where the median is sure."""


@dataclass
class MeasuredLatency:
    """Median latency of a call in ms, by ONNX Runtime on the CPU; a measure for `NasExperiment`.

    The value is the upper bound of the median's 99 % confidence interval, so that an arch that meets a limit meets it when it
    is measured again. An arch is measured once.

    >>> limit, measure = Constraint("latency_ms", "<=", 5), MeasuredLatency(input_size=32)
    >>> NasExperiment(space, evaluator, strategy, constraints=[limit], measures={"latency_ms": measure})

    Attributes:
        input_size: Side of the images, in pixels.
        batch_size: Images of a call, at least 1.
        threads: Threads that a call may use, at least 1.
        seconds: Most seconds to measure an arch.
        percent: Percentile, below 100, that decides how many calls are needed. For the 99th, a burst of other work on the
            machine is a small share of the calls.
        clock: Clock to measure by.
    """

    input_size: int
    batch_size: int = 1
    threads: int = 1
    seconds: float = SEARCH_SECONDS
    percent: float = 99.0
    clock: Clock = field(default=time.perf_counter, repr=False)
    _known: dict[str, float] = field(default_factory=dict, repr=False)

    def __call__(self, space: ModelSpace, arch: Arch) -> dict[str, float]:
        """{"latency_ms": milliseconds}.

        Raises:
            ExportError: The arch cannot be exported.
            ExperimentError: The model is so slow that there were too few calls.
        """
        key = repr(sorted(space.canonical(arch).items()))
        if key not in self._known:
            self._known[key] = sure_median(self.measure(space, arch))
        return {NAME: self._known[key]}

    def measure(self, space: ModelSpace, arch: Mapping[str, Any]) -> FormatLatency:
        """The latency of an arch with all samples, measured now, with random weights: the time of a kernel is the same.

        Raises:
            ArchError: The arch is not of the space.
            ExportError: The network cannot be exported.
        """
        with torch.random.fork_rng(devices=()), tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
            torch.manual_seed(0)
            path = Path(folder) / FORMATS["onnx"].file
            WRITERS["onnx"](ExportableModel(space.freeze(arch), torch.zeros(2, 3, self.input_size, self.input_size)), path)
            return self.time(partial(FORMATS["onnx"].load, path, self.threads, "cpu"))

    def time(self, load: Callable[[], Runner]) -> FormatLatency:
        """The latency of an exported model that `load` loads, measured in the same way."""
        (batch,) = random_batches((3, self.input_size, self.input_size), sizes=(self.batch_size,))
        protocol = TimingProtocol(percent=self.percent, max_seconds=self.seconds)
        (found,) = measure_formats({"onnx": load}, batch, threads=self.threads, protocol=protocol, clock=self.clock)
        return found


@dataclass(frozen=True)
class PredictedLatency:
    """Latency of a call in ms as a lookup table predicts it, in milliseconds where measuring takes seconds.

    A measure for `NasExperiment`, in place of `MeasuredLatency`.

    >>> PredictedLatency(LatencyTable.load(path))  # A file that `hubserve latency-table build` wrote.

    Attributes:
        table: Lookup table of the space, for the same image size, batch size and threads.
    """

    table: LatencyTable

    def __call__(self, space: ModelSpace, arch: Arch) -> dict[str, float]:
        """{"latency_ms": milliseconds}. Raises ProfileError where the table is of another space or other settings."""
        return {NAME: self.table.predict(space, arch)}


def sure_median(found: FormatLatency) -> float:
    """The upper bound of the median latency, in ms.

    Raises:
        ExperimentError: There were too few calls to know one.
    """
    median = next(p for p in found.percentiles if p.percent == 50.0)
    if median.upper_bound is None:
        raise ExperimentError(
            f"{found.n} calls are too few to know the median latency: it takes {median.needs}; the model is too slow"
        )
    return median.upper_bound
