"""The records of a profile, JSON on disk, with a schema of their own (`hubserve profile --schema`)."""

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from hubserve.host import Host
from hubserve.latency.format_latency import OLD_NAME, FormatLatency
from hubserve.package.manifest import TensorEntry
from hubserve.package.parity import ParityReport
from hubserve.preprocess import Preprocess


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Artefact(_Record):
    """File that a format was loaded from.

    Attributes:
        format: Format that was measured: "eager", "openvino", or a format of packages such as "onnx".
        file: Name of the file in the package.
        bytes: Length of the file.
        sha256: Hash of its content, in hexadecimal digits.
        made: What the manifest says about the format: opset, precision, ...
        runtime: Library that ran it, with its version.
    """

    format: str = Field(validation_alias=OLD_NAME)
    file: str
    bytes: int
    sha256: str
    made: dict[str, Any]
    runtime: str


class Rules(_Record):
    """How the latency was measured.

    Attributes:
        deepest_percent: Percentile that decided how many calls were needed, between 0 and 100.
        max_seconds: Seconds after which the measurement ended, for all formats together.
        max_warm_up: Calls after which the warm-up of a format ended though it was not steady.
        steady: Relative change of the median at which the warm-up was over, and half-width of the median's 99 % confidence
            interval at which there were enough calls; 0.02 is 2 %.
        turns: Calls of a format before the next one had its turn.
        seed: Seed of the order of the turns.
    """

    deepest_percent: float
    max_seconds: float
    max_warm_up: int
    steady: float
    turns: int
    seed: int


class Memory(_Record):
    """Memory of one format, measured in a process of its own.

    Attributes:
        format: Format that was measured.
        before_mib: Resident memory before the model was loaded, libraries included, in MiB.
        peak_mib: Largest resident memory while it was loaded and called, in MiB.
        delta_mib: Their difference in MiB: what the model takes.
    """

    format: str = Field(validation_alias=OLD_NAME)
    before_mib: float
    peak_mib: float
    delta_mib: float


class SweepPoint(_Record):
    """Throughput under one setting.

    Attributes:
        batch_size: Images of a call.
        threads: Threads that a call may use.
        sessions: Number of models side by side, each called by a thread of its own.
        n: Number of calls, of all models together.
        p50_ms: Median time of a call, in ms.
        images_per_second: Throughput of all models together.
    """

    batch_size: int
    threads: int
    sessions: int
    n: int
    p50_ms: float
    images_per_second: float


class Sweep(_Record):
    """Throughput of one format under other settings.

    Attributes:
        format: Format that was measured.
        by_batch: Batch sizes 1, 2, 4, ... with one thread.
        by_threads: From one thread to all cores for one call of one image.
        by_sessions: From one model to as many as there are cores, each with one thread.
        knee_batch: Smallest batch with 95 % of the best throughput; larger ones cost latency and gain little.
    """

    format: str = Field(validation_alias=OLD_NAME)
    by_batch: tuple[SweepPoint, ...]
    by_threads: tuple[SweepPoint, ...]
    by_sessions: tuple[SweepPoint, ...]
    knee_batch: int


class OperatorShare(_Record):
    """Time of one operation of a network.

    Attributes:
        operator: Kind of the operation, as the runtime names it.
        name: Name of the node; empty where calls of a kind are counted together.
        module: Path of the module in the PyTorch network; None where it is not known.
        ms: Median time in one call of the network, in ms.
        share: Share of the time of all operations, in [0, 1].
    """

    operator: str
    name: str
    module: str | None
    ms: float
    share: float


class ChoiceShare(_Record):
    """Time that depends on one choice of the arch.

    Attributes:
        label: Label of the choice.
        value: Value that the arch has chosen.
        ms: Time, in one call, of the operations that would differ or be absent with another value, in ms.
        share: Share of the time of all operations, in [0, 1]; an operation that depends on several choices counts for each.
    """

    label: str
    value: Any
    ms: float
    share: float


class NetworkCost(_Record):
    """Work of one call with one image, and how it compares with the time.

    Attributes:
        params: Number of elements of all parameters.
        macs: Multiply-accumulates.
        bytes_moved: Bytes that all operations read and write, in float32, with nothing kept in caches.
        macs_per_byte: Arithmetic intensity; below some 5 a CPU waits for memory rather than for its multipliers.
        gmacs_per_second: Billions of multiply-accumulates per second at the median of "onnx"; None where that was not measured.
        predicted_ms: Latency that a lookup table predicts, in ms; None without a table.
        measured_ms: Median latency of "onnx" with one image, in ms; None where that was not measured.
        prediction_error: Predicted over measured latency, minus 1; None where one of them is missing.
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
    """Formats of one model side by side, measured in one run on one machine.

    Attributes:
        format_version: Version of this record.
        model: Name of the model.
        created: Time of the measurement, in ISO 8601.
        weights_sha256: Hash of the weights of the package, in hexadecimal digits.
        input: Input of the exported formats.
        output: Output of the exported formats.
        preprocess: Preprocessing that turns an image into the input.
        host: Machine on which it was measured.
        rules: How the latency was measured.
        artefacts: Files that the formats were loaded from.
        formats: Latency of each format, at least one.
        left_out: Format -> reason why it was not measured.
        parity: How far each format is from eager PyTorch.
        memory: Memory of each format; empty where it was not measured.
        sweep: Throughput under other settings; None where it was not measured.
        operators: Format -> its operations, the slowest first; empty where they were not measured.
        choices: Time that depends on each choice of the arch, in the format "onnx"; empty where it was not measured.
        cost: Work of the network; None where it cannot be rebuilt on this machine.
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
    formats: tuple[FormatLatency, ...] = Field(min_length=1, validation_alias=AliasChoices("formats", "forms"))
    left_out: dict[str, str] = {}
    parity: tuple[ParityReport, ...] = ()
    memory: tuple[Memory, ...] = ()
    sweep: Sweep | None = None
    operators: dict[str, tuple[OperatorShare, ...]] = {}
    choices: tuple[ChoiceShare, ...] = ()
    cost: NetworkCost | None = None

    def latency_of(self, name: str) -> FormatLatency | None:
        """The latency of the format `name`; None where it was not measured."""
        return next((found for found in self.formats if found.format == name), None)
