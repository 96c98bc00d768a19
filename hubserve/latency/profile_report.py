"""The records of a profile (`ProfileReport`), saved as JSON; `hubserve profile --schema` prints their JSON schema."""

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from hubserve.host import Host
from hubserve.latency.format_latency import OLD_NAME, FormatLatency
from hubserve.package.manifest import TensorEntry
from hubserve.package.parity import ParityReport
from hubserve.package.tensor_parity import TensorParityReport
from hubserve.preprocess import Preprocess


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Artefact(_Record):
    """File from which a format was loaded.

    Attributes:
        format: Format that was measured: "eager", "openvino", or a format of packages such as "onnx".
        file: Name of the file in the package.
        bytes: Size in bytes of the file, and of the further files of the format if it has any.
        sha256: SHA-256 of the file `file`, in hexadecimal digits.
        made: Entry of the format in the manifest of the package: its opset, precision, ...; empty for "eager".
        runtime: Name and version of the library that ran the format.
    """

    format: str = Field(validation_alias=OLD_NAME)
    file: str
    bytes: int
    sha256: str
    made: dict[str, Any]
    runtime: str


class Rules(_Record):
    """Settings with which the latency was measured.

    Attributes:
        deepest_percent: Highest percentile to estimate, in (0, 100), which decided how many calls were needed.
        max_seconds: Seconds, for all formats together, after which measuring ended even with too few calls.
        max_warm_up: Largest number of warm-up calls of a format, after which its warm-up ended though it was not steady.
        steady: Relative change of the median at which warm-up ended, and relative half-width of the median's 99 % confidence
            interval at which there were enough calls; 0.02 is 2 %.
        turns: Number of calls of a format in one turn.
        seed: Seed of the random order in which the formats took turns.
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
        delta_mib: Difference of `peak_mib` and `before_mib`, which is the memory that the model needs.
    """

    format: str = Field(validation_alias=OLD_NAME)
    before_mib: float
    peak_mib: float
    delta_mib: float


class SweepPoint(_Record):
    """Throughput with one batch size, number of threads, and number of parallel models.

    Attributes:
        batch_size: Number of images, or rows of other inputs, in a call.
        threads: Number of threads that a call may use.
        sessions: Number of instances of the model that run in parallel, each called by a thread of its own.
        n: Number of calls, of all instances together.
        p50_ms: Median time of a call, in milliseconds.
        images_per_second: Throughput of all instances together.
    """

    batch_size: int
    threads: int
    sessions: int
    n: int
    p50_ms: float
    images_per_second: float


class Sweep(_Record):
    """Throughput of one format with several batch sizes, numbers of threads, and numbers of parallel models.

    Attributes:
        format: Format that was measured.
        by_batch: Throughput for each batch size, such as 1, 2, 4, ..., with one thread and one model.
        by_threads: Throughput with 1, 2, 4, ... threads, up to the number of cores, of one model with batch size 1.
        by_sessions: Throughput with 1, 2, 4, ... parallel models, up to the number of cores, each with batch size 1 and one
            thread.
        knee_batch: Smallest batch size with at least 95 % of the best throughput in `by_batch`; larger batches add latency and
            little throughput.
    """

    format: str = Field(validation_alias=OLD_NAME)
    by_batch: tuple[SweepPoint, ...]
    by_threads: tuple[SweepPoint, ...]
    by_sessions: tuple[SweepPoint, ...]
    knee_batch: int


class RealTimePoint(_Record):
    """Real-time factor of calls with one row, of one length.

    Attributes:
        lengths: Length of each named axis of the inputs besides "batch".
        output_seconds: Duration of the output of this call.
        p50_ms: Median time of a call, in milliseconds.
        factor: Seconds of compute for a second of output; below 1 is faster than real time. None if the output has no duration.
    """

    lengths: dict[str, int]
    output_seconds: float
    p50_ms: float
    factor: float | None


class RealTime(_Record):
    """Real-time factors of a model, one of whose outputs has an axis along which time passes, such as the frames of sound.

    Attributes:
        format: Format that was measured.
        threads: Number of threads that a call may use.
        output: Name of that output.
        axis: Name of that axis.
        points: Factor at each length of the inputs, the shortest first.
    """

    format: str
    threads: int
    output: str
    axis: str
    points: tuple[RealTimePoint, ...]


class OperatorShare(_Record):
    """Time of one operation of a network, or, in eager PyTorch, of all operators of one kind.

    Attributes:
        operator: Kind of the operation, as the runtime names it.
        name: Name of the node in the ONNX graph; empty for eager PyTorch.
        module: Path of the module in the PyTorch network; None if it is not known.
        ms: Time in one call of the network, in milliseconds: the median over the calls, or the mean for eager PyTorch.
        share: Share of `ms` in the time of all operations, in [0, 1].
    """

    operator: str
    name: str
    module: str | None
    ms: float
    share: float


class ChoiceShare(_Record):
    """Time of the operations that depend on one choice of the arch.

    Attributes:
        label: Label of the choice.
        value: Value of the choice in the arch.
        ms: Time, in one call, of the operations that would be different or absent with another value, in milliseconds.
        share: Share of `ms` in the time of all operations, in [0, 1]. The shares of all choices may add up to more than 1,
            since an operation that depends on several choices is counted for each.
    """

    label: str
    value: Any
    ms: float
    share: float


class NetworkCost(_Record):
    """Cost of one call of a network with one image or row, and its relation to the measured latency.

    Attributes:
        params: Number of elements of all parameters.
        macs: Number of multiply-accumulates, those of attention included.
        bytes_moved: Bytes that all operations read and write, in float32, as if nothing were kept in caches.
        macs_per_byte: Arithmetic intensity, `macs` divided by `bytes_moved`. Below about 5, the speed of the memory limits a
            CPU more than its arithmetic.
        gmacs_per_second: `macs` in billions divided by the median latency of "onnx" in seconds; None if that was not measured.
        predicted_ms: Latency that a lookup table predicts, in milliseconds; None without a table.
        measured_ms: Median latency of "onnx" with one image or row, in milliseconds; None if it was not measured.
        prediction_error: `predicted_ms` divided by `measured_ms`, minus 1; None if one of them is None.
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
    """Profile of a model: its formats, measured in turns in one run on one machine.

    Attributes:
        format_version: Version of this record.
        model: Name of the model.
        created: Time of the measurement, in ISO 8601.
        weights_sha256: SHA-256 of the weights file of the package, in hexadecimal digits.
        input: Name, type and shape of the first input of the exported formats.
        output: Name, type and shape of the first output of the exported formats.
        inputs: All inputs of a model that is no image classifier; empty for an image classifier.
        lengths: Length of each named axis of these inputs besides "batch", with which the model was measured.
        preprocess: Preprocessing that turns an image into the input; None if the model is no image classifier.
        host: Machine on which the profile was measured.
        rules: Settings with which the latency was measured.
        artefacts: File from which each format was loaded.
        formats: Latency of each format, at least one.
        left_out: Reason why a format was not measured, by the name of the format.
        parity: Result of the comparison of each exported format with eager PyTorch.
        memory: Memory of each format; empty if it was not measured.
        sweep: Throughput with several batch sizes, threads and parallel models; None if it was not measured.
        real_time: Real-time factors against the length of the inputs; None if the outputs have no axis along which time passes.
        operators: Times of operations, the slowest first, by the name of the format; empty if they were not measured.
        choices: Time of each choice of the arch in the format "onnx"; empty if it was not measured.
        cost: Cost of a call; None if the space of the package is neither one of the hub nor one that could be imported.
    """

    format_version: Literal[2] = 2
    model: str
    created: str
    weights_sha256: str
    input: TensorEntry
    output: TensorEntry
    inputs: tuple[TensorEntry, ...] = ()
    lengths: dict[str, int] = {}
    preprocess: Preprocess | None
    host: Host
    rules: Rules
    artefacts: tuple[Artefact, ...]
    formats: tuple[FormatLatency, ...] = Field(min_length=1, validation_alias=AliasChoices("formats", "forms"))
    left_out: dict[str, str] = {}
    parity: tuple[TensorParityReport | ParityReport, ...] = ()
    memory: tuple[Memory, ...] = ()
    sweep: Sweep | None = None
    real_time: RealTime | None = None
    operators: dict[str, tuple[OperatorShare, ...]] = {}
    choices: tuple[ChoiceShare, ...] = ()
    cost: NetworkCost | None = None

    @property
    def items(self) -> str:
        """Name of what the batch size counts: "images", or "rows" for a model that is no image classifier."""
        return "rows" if self.preprocess is None else "images"

    def latency_of(self, name: str) -> FormatLatency | None:
        """Returns the latency of the format `name`; None if it was not measured."""
        return next((found for found in self.formats if found.format == name), None)
