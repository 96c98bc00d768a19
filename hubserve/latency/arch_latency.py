"""Latency of an arch as a measure of searches: exported to ONNX and timed here, or predicted by a lookup table."""

from collections.abc import Callable
from dataclasses import dataclass, field

from hubserve.errors import ExperimentError
from hubserve.latency.exported_arch import time_arch, time_onnx
from hubserve.latency.format_latency import FormatLatency
from hubserve.latency.tables.table import LatencyTable
from hubserve.package.runner import Runner
from hubserve.space import Arch, ModelSpace
from hubserve.timing import TimingProtocol

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
    """

    input_size: int
    batch_size: int = 1
    threads: int = 1
    seconds: float = SEARCH_SECONDS
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

    def measure(self, space: ModelSpace, arch: Arch) -> FormatLatency:
        """The latency of an arch with all samples, measured now. Raises ExportError where it cannot be exported."""
        return time_arch(
            space, arch, input_size=self.input_size, batch_size=self.batch_size, threads=self.threads, protocol=self._protocol
        )

    def time(self, load: Callable[[], Runner]) -> FormatLatency:
        """The latency of an exported model that `load` loads, measured in the same way."""
        return time_onnx(
            load, input_size=self.input_size, batch_size=self.batch_size, threads=self.threads, protocol=self._protocol
        )

    @property
    def _protocol(self) -> TimingProtocol:
        # As many calls as the 99th percentile takes: a burst of other work on the machine is a small share of them.
        return TimingProtocol(percent=99.0, max_seconds=self.seconds)


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
