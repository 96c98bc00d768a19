"""Measures the profile of a package: latency of its formats in turns, throughput, memory, time of operators, and cost."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from hubserve.errors import ExportError, HubserveError, PackageError, ParityError, ProfileError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.host import describe_host, installed_versions
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.package_space import package_space
from hubserve.latency.choice_modules import labels_of_modules
from hubserve.latency.format_latency import FormatLatency, measure_formats
from hubserve.latency.memory import measure_memory
from hubserve.latency.network_cost import cost_of
from hubserve.latency.operator_times import by_choice, eager_operators, onnx_operators
from hubserve.latency.profile_report import (
    Artefact,
    ChoiceShare,
    Memory,
    NetworkCost,
    OperatorShare,
    ProfileReport,
    Rules,
    Sweep,
)
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.latency.throughput import BATCHES, sweep
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import ALL_FORMATS, TensorEntry
from hubserve.package.package import WEIGHTS, Backend, Package
from hubserve.package.parity import ParityReport, check_parity, prepared_batches, random_batches
from hubserve.package.runner import Batch, Runner
from hubserve.timing import STEADY, WINDOW, TimingProtocol

SERVED = "onnx"
"""Format that the service runs; throughput and the times of operators are measured for it."""
MOST_OPERATORS = 40
"""Largest number of operators of a format in the profile; the slowest ones are kept."""


@dataclass(frozen=True)
class Details:
    """Options of `profile_package`: what is measured in addition to latency.

    Attributes:
        sweep_seconds: Seconds for each setting of the throughput sweep over batch sizes, threads and parallel models; 0 leaves
            the sweep out.
        batches: Batch sizes of the sweep, at least one.
        memory: Whether to measure peak memory, in a process for each format; only on Linux.
        operators: Whether to measure the time of each operator, and of each choice of the arch.
        openvino: Whether to also measure the ONNX file with OpenVINO.
        table: Lookup table of the space, whose prediction is compared with the measured latency; None makes no comparison.
    """

    sweep_seconds: float = 0.5
    batches: Sequence[int] = BATCHES
    memory: bool = True
    operators: bool = True
    openvino: bool = False
    table: LatencyTable | None = None


NOTHING = Details(sweep_seconds=0, memory=False, operators=False)


def profile_package(
    package: Package,
    *,
    batch_size: int = 1,
    threads: int = 1,
    protocol: TimingProtocol | None = None,
    details: Details = NOTHING,
    rebuild: bool = True,
) -> ProfileReport:
    """Measures eager PyTorch and each exported format of a package on the CPU, in turns, and returns the profile.

    Formats that cannot run on the CPU, or are programs whose author is not trusted, are listed in `ProfileReport.left_out`; so
    is "eager" if the package has a space of the user's own that cannot be imported.

    Args:
        package: Package with at least one exported format.
        batch_size: Number of images in a call, at least 1.
        threads: Number of threads that a call may use, at least 1.
        protocol: How many calls are measured, and for how long; None takes the defaults of `TimingProtocol`.
        details: What is measured in addition to latency; by default nothing.
        rebuild: Whether to measure eager PyTorch, too; this needs a package whose space is one of the hub.

    Raises:
        ProfileError: `batch_size` or `threads` is below 1, no format can be measured on this machine, a measurement failed, or
            the lookup table is empty or of another space.
        PackageError: The PyTorch module cannot be rebuilt.
        ExportError: A format cannot be loaded or run.
    """
    if batch_size < 1 or threads < 1:
        raise ProfileError(f"batch_size = {batch_size}, threads = {threads}: both must be at least 1")
    protocol = protocol or TimingProtocol()
    host, manifest = describe_host(), package.manifest
    (batch,) = random_batches((3, manifest.preprocess.input_size, manifest.preprocess.input_size), sizes=(batch_size,))
    no_space = _why_not_imported(package) if rebuild else None
    rebuild = rebuild and no_space is None
    loaders, left_out = _loaders(package, threads, rebuild=rebuild, openvino=details.openvino)
    left_out |= {} if no_space is None else {"eager": no_space}
    with _torch_threads(threads):
        formats = measure_formats(loaders, batch, threads=threads, protocol=protocol)
        operators, choices = _where(package, batch, threads, rebuild) if details.operators else ({}, ())
    swept = _sweep(package, loaders, details, host.cores) if details.sweep_seconds > 0 else None
    return ProfileReport(
        model=manifest.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        weights_sha256=manifest.files[WEIGHTS].sha256,
        input=TensorEntry.model_validate(manifest.input.model_dump(include=set(TensorEntry.model_fields))),
        output=TensorEntry.model_validate(manifest.output.model_dump(include=set(TensorEntry.model_fields))),
        preprocess=manifest.preprocess,
        host=host,
        rules=_rules(protocol),
        artefacts=tuple(_artefact(package, name) for name in loaders),
        formats=formats,
        left_out=left_out,
        parity=(*package.parity, *_parity_of_openvino(package, loaders, rebuild)),
        memory=_memory(package, loaders, batch_size, threads) if details.memory else (),
        sweep=swept,
        operators=operators,
        choices=choices,
        cost=_cost(package, formats, batch_size, details.table),
    )


def _why_not_imported(package: Package) -> str | None:
    """Returns why a space of the user's own cannot be imported; None if it can be, and for a space of the hub."""
    if package.manifest.space_source is None:
        return None
    try:
        package_space(package)
    except HubserveError as error:
        return str(error)
    return None


def _space(package: Package) -> HubSpace | None:
    """Returns the space of a package; None if it can neither be found in the hub nor be imported."""
    try:
        return package_space(package)
    except HubserveError:
        return None


def _loaders(
    package: Package, threads: int, *, rebuild: bool, openvino: bool
) -> tuple[dict[str, Callable[[], Runner]], dict[str, str]]:
    """Returns functions that load the formats that can be measured on this machine, and the reasons why others cannot.

    Both are by the name of the format. Raises ProfileError if no format can be measured.
    """
    loaders: dict[str, Callable[[], Runner]] = {}
    left_out: dict[str, str] = {}
    if rebuild:
        loaders["eager"] = lambda: EagerRunner(rebuild_model(package))
    backends: list[Backend] = [name for name in ALL_FORMATS if name in package.manifest.exports]
    for backend in [*backends, *(["openvino"] if openvino else [])]:
        try:
            if backend in FORMATS:
                package.check_trust(backend)  # type: ignore[arg-type]
            if backend in FORMATS and FORMATS[backend].only_cuda:  # type: ignore[index]
                package.runner(backend)  # type: ignore[arg-type]
        except (ExportError, PackageError) as error:
            left_out[backend] = str(error)
            continue
        loaders[backend] = lambda backend=backend: package.runner(backend, threads=threads)  # type: ignore[misc]
    if not loaders:
        raise ProfileError(f"{package.path} has no format that runs on this machine: {'; '.join(left_out.values())}")
    return loaders, left_out


def _rules(protocol: TimingProtocol) -> Rules:
    return Rules(
        deepest_percent=protocol.percent,
        max_seconds=protocol.max_seconds,
        max_warm_up=protocol.max_warm_up,
        steady=STEADY,
        turns=WINDOW,
        seed=protocol.seed,
    )


def _artefact(package: Package, name: str) -> Artefact:
    manifest = package.manifest
    key = SERVED if name == "openvino" else name
    file = WEIGHTS if name == "eager" else FORMATS[key].file  # type: ignore[index]
    library = "openvino" if name == "openvino" else "onnxruntime" if name.startswith("onnx") else "torch"
    installed = installed_versions(f"{library}-gpu", library)
    return Artefact(
        format=name,
        file=file,
        bytes=manifest.files[file].bytes,
        sha256=manifest.files[file].sha256,
        made=manifest.exports.get(key, {}),  # type: ignore[call-overload]
        runtime=f"{library} {next(iter(installed.values()), 'of unknown version')}",
    )


def _parity_of_openvino(package: Package, loaders: dict[str, Callable[[], Runner]], rebuild: bool) -> list[ParityReport]:
    """Compares the outputs of OpenVINO with those of eager PyTorch, as a package has reports for its own formats only.

    Returns one report, or none if OpenVINO or eager PyTorch is not measured.
    """
    if "openvino" not in loaders or not rebuild:
        return []
    batches = prepared_batches(package.manifest.preprocess)
    try:
        return [check_parity(EagerRunner(rebuild_model(package)), loaders["openvino"](), batches)]
    except ParityError as error:
        return [error.args[1]]


def _where(
    package: Package, batch: Batch, threads: int, rebuild: bool
) -> tuple[dict[str, tuple[OperatorShare, ...]], tuple[ChoiceShare, ...]]:
    """Measures the time of each operator in "onnx" and in eager PyTorch, by format, and that of each choice in "onnx"."""
    operators: dict[str, tuple[OperatorShare, ...]] = {}
    choices: tuple[ChoiceShare, ...] = ()
    manifest = package.manifest
    if SERVED in manifest.exports:
        rows = onnx_operators(package.path / FORMATS[SERVED].file, batch, threads=threads)
        operators[SERVED] = tuple(rows[:MOST_OPERATORS])
        space = _space(package)
        if space is not None:
            choices = tuple(by_choice(rows, labels_of_modules(space, manifest.arch), manifest.arch))
    if rebuild:
        operators["eager"] = tuple(eager_operators(rebuild_model(package), batch)[:MOST_OPERATORS])
    return operators, choices


def _sweep(package: Package, measured: Iterable[str], details: Details, cores: int) -> Sweep | None:
    """Measures the throughput of "onnx", or else of another exported format; returns None if none can be measured."""
    formats = sorted((name for name in measured if name in package.manifest.exports), key=lambda name: name != SERVED)
    if not formats:
        return None
    chosen: Backend = formats[0]  # type: ignore[assignment]
    size = package.manifest.preprocess.input_size
    return sweep(
        chosen,
        lambda threads: package.runner(chosen, threads=threads),
        lambda n: random_batches((3, size, size), sizes=(n,))[0],
        cores=cores,
        seconds=details.sweep_seconds,
        batches=details.batches,
    )


def _memory(package: Package, formats: Iterable[str], batch_size: int, threads: int) -> tuple[Memory, ...]:
    if not Path("/proc/self/clear_refs").exists():  # It exists on Linux only.
        return ()
    return measure_memory(package, formats, batch_size=batch_size, threads=threads)


def _cost(
    package: Package, formats: Sequence[FormatLatency], batch_size: int, table: LatencyTable | None
) -> NetworkCost | None:
    """Returns the cost of the network; None if its space is not one of the hub, or the arch does not fit the space.

    Raises ProfileError if the lookup table is of another space.
    """
    manifest = package.manifest
    measured = next((f for f in formats if f.format == SERVED and batch_size == 1), None)
    median = None if measured is None else sorted(measured.samples_ms)[len(measured.samples_ms) // 2]
    space = _space(package)
    if space is None:
        return None
    try:
        return cost_of(space, manifest.arch, manifest.preprocess.input_size, measured_ms=median, table=table)
    except ProfileError:
        raise
    except HubserveError:
        return None


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Sets the number of threads of torch, which is a setting of the whole process, in the block and restores it afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
