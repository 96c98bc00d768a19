"""What a profile says: one validated record, JSON on disk, with a schema of its own (`hubserve profile --schema`)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hubserve.host import Host
from hubserve.latency.format_latency import FormatLatency
from hubserve.package.manifest import TensorEntry
from hubserve.package.parity import ParityReport
from hubserve.preprocess import Preprocess


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Artefact(_Record):
    """The file that a form was loaded from.

    Attributes:
        form: "eager", "onnx", ...
        file: its name in the package.
        bytes: its length.
        sha256: of its content.
        made: what the manifest says of it: opset, precision, ...
        runtime: library and version that ran it.
    """

    form: str
    file: str
    bytes: int
    sha256: str
    made: dict[str, Any]
    runtime: str


class Rules(_Record):
    """How it was measured.

    Attributes:
        deepest_percent: percentile that decided how many calls it takes.
        max_seconds: of measuring, for all forms together.
        max_warm_up: calls after which the warm-up ended though it was not steady.
        steady: relative change of the median at which the warm-up was over, and half-width of the median's 99 % interval at
            which there were enough calls.
        turns: calls of a form before the next one had its turn, in random order.
        seed: of that order.
    """

    deepest_percent: float
    max_seconds: float
    max_warm_up: int
    steady: float
    turns: int
    seed: int


class Memory(_Record):
    """Memory of one form, in a process of its own.

    Attributes:
        form: which.
        before_mib: resident before the model was loaded, libraries included.
        peak_mib: most that was resident while it was loaded and called.
        delta_mib: their difference: what the model takes.
    """

    form: str
    before_mib: float
    peak_mib: float
    delta_mib: float


class SweepPoint(_Record):
    """One setting of a sweep.

    Attributes:
        batch_size: pictures of a call.
        threads: that a call may use.
        sessions: models that run side by side, each called by a thread of its own.
        n: calls.
        p50_ms: median of a call.
        images_per_second: of all sessions together.
    """

    batch_size: int
    threads: int
    sessions: int
    n: int
    p50_ms: float
    images_per_second: float


class Sweep(_Record):
    """Throughput of one form under other settings.

    Attributes:
        form: which.
        by_batch: batch sizes 1, 2, 4, ... with one thread.
        by_threads: 1 to all cores for one call.
        by_sessions: 1 to all cores, one thread each.
        knee_batch: smallest batch with 95 % of the best throughput; larger ones cost latency and bring nothing.
    """

    form: str
    by_batch: tuple[SweepPoint, ...]
    by_threads: tuple[SweepPoint, ...]
    by_sessions: tuple[SweepPoint, ...]
    knee_batch: int


class OperatorShare(_Record):
    """One operation.

    Attributes:
        operator: its kind.
        name: of the node; empty where calls of a kind are counted together.
        module: path of the module in the PyTorch network, where known.
        ms: of a call, median.
        share: of all operations.
    """

    operator: str
    name: str
    module: str | None
    ms: float
    share: float


class ChoiceShare(_Record):
    """What a choice of the arch costs.

    Attributes:
        label: of the choice.
        value: what the arch says.
        ms: of the operations that would be others, or not be there, under another answer.
        share: of all operations; an operation that several choices decide about counts for each.
    """

    label: str
    value: Any
    ms: float
    share: float


class NetworkCost(_Record):
    """Work of one call, and how it compares with the time.

    Attributes:
        params: elements of all parameters.
        macs: multiply-accumulates of one picture.
        bytes_moved: read and written by all operations for one picture, in float32, nothing kept in caches.
        macs_per_byte: arithmetic intensity; below some 5 a CPU waits for memory rather than for its multipliers.
        gmacs_per_second: macs over the median of the form "onnx" at batch 1, where measured.
        predicted_ms: by a lookup table, where one was given.
        measured_ms: median of the form "onnx" at batch 1.
        prediction_error: predicted over measured, minus 1.
    """

    params: int
    macs: int
    bytes_moved: int
    macs_per_byte: float
    gmacs_per_second: float | None
    predicted_ms: float | None
    measured_ms: float | None
    prediction_error: float | None


class ProfileReport(_Record):
    """Forms of one model side by side, measured in one run on one machine.

    Attributes:
        format_version: of this record.
        model: its name.
        created: when, in ISO 8601.
        weights_sha256: of the package's weights.
        input: of the exported forms.
        output: likewise.
        preprocess: how pictures become input.
        host: the machine.
        rules: how it was measured.
        artefacts: one for each form.
        forms: latency of each.
        left_out: form -> why it was not measured.
        parity: how far each form is from eager PyTorch.
        memory: one for each form, where measured.
        sweep: throughput under other settings, where measured.
        operators: form -> its operations, the slowest first, where measured.
        choices: what each choice of the arch costs, in the form "onnx".
        cost: of the network; None where it cannot be rebuilt here.
    """

    format_version: Literal[2] = 2
    model: str
    created: str
    weights_sha256: str
    input: TensorEntry
    output: TensorEntry
    preprocess: Preprocess
    host: Host
    rules: Rules
    artefacts: tuple[Artefact, ...]
    forms: tuple[FormatLatency, ...] = Field(min_length=1)
    left_out: dict[str, str] = {}
    parity: tuple[ParityReport, ...] = ()
    memory: tuple[Memory, ...] = ()
    sweep: Sweep | None = None
    operators: dict[str, tuple[OperatorShare, ...]] = {}
    choices: tuple[ChoiceShare, ...] = ()
    cost: NetworkCost | None = None

    def form(self, name: str) -> FormatLatency | None:
        """The latency of one form; None where it was not measured."""
        return next((form for form in self.forms if form.form == name), None)
