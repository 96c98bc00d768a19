"""Measures of latency for searches: one exports an arch to ONNX and times it, the other predicts it by a lookup table."""

import hashlib
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hubserve.atomic import staged_file
from hubserve.errors import ExperimentError, ProfileError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.onnx_for_timing import export_onnx_for_timing
from hubserve.hub.hub_space import HubSpace
from hubserve.latency.format_latency import FormatLatency, measure_formats
from hubserve.latency.lengths import measured_signature, space_lengths
from hubserve.latency.package_calls import Call, TensorCall
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.package.formats import FORMATS
from hubserve.package.onnx_runner import OnnxRunner
from hubserve.package.onnx_tensor_runner import OnnxTensorRunner
from hubserve.package.parity import random_batches
from hubserve.package.runner import Runner
from hubserve.space import Arch, ModelSpace
from hubserve.timing import Clock, TimingProtocol

NAME = "latency_ms"

SEARCH_SECONDS, CHOICE_SECONDS = 1.0, 4.0
"""Longest time in seconds to measure an arch during a search, and to measure it again before it is chosen and published.

Measuring ends earlier once the median is known precisely enough.
"""


@dataclass
class MeasuredLatency:
    """Measure for `NasExperiment`: the latency of a call in milliseconds, measured with ONNX Runtime on the CPU.

    The value is an upper bound of the median latency at 99 % confidence, so that an arch that meets a limit is likely to meet
    it when it is measured again. Each arch is measured once and its value kept, so an instance is for a single space.

    >>> limit, measure = Constraint("latency_ms", "<=", 5), MeasuredLatency(input_size=32)
    >>> NasExperiment(space, evaluator, strategy, constraints=[limit], measures={"latency_ms": measure})

    Attributes:
        input_size: Height and width of the images, in pixels. None takes those of the space, and is for a space whose networks
            take other inputs.
        batch_size: Number of images, or rows of inputs, in a call, at least 1.
        threads: Number of threads that a call may use, at least 1.
        seconds: Longest time in seconds to measure an arch, or all archs of one `measure_in_turns` together, without export and
            warm-up.
        percent: Percentile in (0, 100) that decides how many calls are needed. The 99th needs 662, among which a short burst of
            other work on the machine affects only a small share.
        clock: Clock that measures the calls.
        lengths: Length of the axes that have names, except "batch", of a space whose networks take other inputs than images;
            those that are missing have the `cost_lengths` of the space.
    """

    input_size: int | None = None
    batch_size: int = 1
    threads: int = 1
    seconds: float = SEARCH_SECONDS
    percent: float = 99.0
    clock: Clock = field(default=time.perf_counter, repr=False)
    lengths: Mapping[str, int] = field(default_factory=dict)
    _known: dict[str, float] = field(default_factory=dict, repr=False)

    def __call__(self, space: ModelSpace, arch: Arch) -> dict[str, float]:
        """Returns {"latency_ms": milliseconds} for an arch; measures it unless it was measured before.

        Raises:
            ArchError: The arch does not belong to the space.
            ExportError: The network cannot be exported.
            ProfileError: A length is not allowed, the size of the images is not known, or `percent` is not between 0 and 100.
            ExperimentError: The network is so slow that there were too few calls for a bound of the median.
        """
        key = _arch_key(space, arch)
        if key not in self._known:
            self._known[key] = sure_median(self.measure(space, arch))
        return {NAME: self._known[key]}

    def measure(self, space: ModelSpace, arch: Mapping[str, Any]) -> FormatLatency:
        """Exports an arch to ONNX, measures it, and returns its latency with all samples.

        The weights are random, as their values hardly affect the time of a call.

        Raises:
            ArchError: The arch does not belong to the space.
            ExportError: The network cannot be exported.
            ProfileError: A length is not allowed, the size of the images is not known, or `percent` is not between 0 and 100.
        """
        return self.measure_in_turns(space, {"onnx": arch})["onnx"]

    def measure_in_turns(
        self, space: ModelSpace, archs: Mapping[str, Mapping[str, Any]], *, kept: Path | None = None
    ) -> dict[str, FormatLatency]:
        """Measures several archs as `measure` does, in turns, so that other work on the machine slows all of them down alike.

        Measuring all of them together takes `seconds`; each gets at least one turn.

        Args:
            space: Model space of the archs.
            archs: Name -> arch.
            kept: Folder in which the exported networks of this space are kept, and from which they are taken when they are
                measured again; None keeps none.

        Returns:
            Name -> latency, whose `format` is the name. Errors are those of `measure`.
        """
        signature = measured_signature(space)
        with torch.random.fork_rng(devices=()), tempfile.TemporaryDirectory(prefix="hubserve.") as temporary:
            loaders = {}
            for name, arch in archs.items():
                key = hashlib.sha256(_arch_key(space, arch).encode()).hexdigest()[:16]
                path = (kept or Path(temporary)) / f"{key}.{FORMATS['onnx'].file}"
                if not path.is_file():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    torch.manual_seed(0)
                    example = torch.zeros(2, *self._image_shape(space)) if signature is None else None
                    model = ExportableModel(space.freeze(arch), example, signature=signature)
                    with staged_file(path) as staged:
                        export_onnx_for_timing(model, staged)
                loaders[name] = partial(_load, path, self.threads, signature is None)
            return self._time(loaders, space)

    def time(self, load: Callable[[], Runner | TensorCall], space: ModelSpace | None = None) -> FormatLatency:
        """Measures an ONNX model in the same way as `measure` and returns its latency with all samples.

        Args:
            load: Function that loads the model and returns its runner.
            space: Model space of the network; None for a network that takes images, whose size is then `input_size`.

        Raises:
            ProfileError: A length is not allowed, the size of the images is not known, or `percent` is not between 0 and 100.
            HubserveError: `load`, or its runner, failed.
        """
        return self._time({"onnx": load}, space)["onnx"]

    def _time(self, loaders: Mapping[str, Callable[[], Call]], space: ModelSpace | None = None) -> dict[str, FormatLatency]:
        """Measures models of images, or of the inputs of `space`, in turns."""
        signature = measured_signature(space)
        batch: Any
        if space is None or signature is None:
            (batch,) = random_batches(self._image_shape(space), sizes=(self.batch_size,))
        else:
            batch = signature.batch(self.batch_size, space_lengths(space, self.lengths))
        protocol = TimingProtocol(percent=self.percent, max_seconds=self.seconds)
        found = measure_formats(
            loaders, batch, batch_size=self.batch_size, threads=self.threads, protocol=protocol, clock=self.clock
        )
        return {latency.format: latency for latency in found}

    def _image_shape(self, space: ModelSpace | None) -> tuple[int, int, int]:
        """Returns the shape of an image of `input_size`, or of that of the space. Raises ProfileError if neither is known."""
        size = self.input_size or (space.input_size if isinstance(space, HubSpace) else None)
        if size is None:
            raise ProfileError("MeasuredLatency measures a model of images: give input_size, their height and width in pixels")
        return 3, size, size


@dataclass(frozen=True)
class PredictedLatency:
    """Measure for `NasExperiment`: the latency of a call in milliseconds, predicted by a lookup table.

    A prediction takes milliseconds, while `MeasuredLatency` takes seconds for each arch.

    >>> PredictedLatency(LatencyTable.load(path))  # A file that `hubserve latency-table build` wrote.

    Attributes:
        table: Lookup table of the space, which also sets the image size or the lengths, the batch size and the number of
            threads.
    """

    table: LatencyTable

    def __call__(self, space: ModelSpace, arch: Arch) -> dict[str, float]:
        """Returns {"latency_ms": milliseconds} for an arch.

        Raises:
            ProfileError: The table is empty, of another space or other settings, or has no operation of a kind that is needed.
            ArchError: The arch does not belong to the space.
        """
        return {NAME: self.table.predict(space, arch)}


def _load(path: Path, threads: int, images: bool) -> Call:
    """Loads an ONNX file of images, or of other inputs."""
    return OnnxRunner(path, threads=threads, device="cpu") if images else TensorCall(OnnxTensorRunner(path, threads=threads))


def _arch_key(space: ModelSpace, arch: Mapping[str, Any]) -> str:
    return repr(sorted(space.canonical(arch).items()))


def sure_median(found: FormatLatency) -> float:
    """Returns an upper bound of the median latency at 99 % confidence, in milliseconds.

    Raises:
        ExperimentError: There were too few calls for such a bound.
    """
    median = next(p for p in found.percentiles if p.percent == 50.0)
    if median.upper_bound is None:
        raise ExperimentError(
            f"{found.n} calls are too few to know the median latency: it takes {median.needs}; the model is too slow"
        )
    return median.upper_bound
