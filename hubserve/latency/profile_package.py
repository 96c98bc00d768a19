"""Measures the profile of a package: latency of its formats in turns, throughput, memory, time of operators, and cost."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from hubserve.errors import ExportError, HubserveError, PackageError, ParityError, ProfileError
from hubserve.export.eager_runner import EagerRunner
from hubserve.export.rebuild_model import rebuild_model
from hubserve.host import describe_host, installed_versions
from hubserve.hub.hub_space import HubSpace
from hubserve.hub.package_space import package_space
from hubserve.latency.choice_modules import labels_of_modules
from hubserve.latency.format_latency import FormatLatency, measure_formats
from hubserve.latency.lengths import space_lengths
from hubserve.latency.memory import measure_memory
from hubserve.latency.network_cost import cost_of
from hubserve.latency.operator_times import by_choice, eager_operators, onnx_operators
from hubserve.latency.package_calls import Call, PackageCalls, usual_lengths
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
from hubserve.latency.real_time import measure_real_time
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.latency.throughput import BATCHES, sweep
from hubserve.package.formats import FORMATS
from hubserve.package.manifest import ALL_FORMATS, TensorEntry
from hubserve.package.package import WEIGHTS, Backend, Package
from hubserve.package.parity import ParityReport, check_parity, prepared_batches
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
    lengths: Mapping[str, int] | None = None,
) -> ProfileReport:
    """Measures eager PyTorch and each exported format of a package on the CPU, in turns, and returns the profile.

    Formats that cannot run on the CPU, or are programs whose author is not trusted, are listed in `ProfileReport.left_out`; so
    is "eager" if the package has a space of the user's own that cannot be imported.

    Args:
        package: Package with at least one exported format.
        batch_size: Number of images, or rows of inputs, in a call, at least 1.
        threads: Number of threads that a call may use, at least 1.
        protocol: How many calls are measured, and for how long; None takes the defaults of `TimingProtocol`.
        details: What is measured in addition to latency; by default nothing.
        rebuild: Whether to measure eager PyTorch, too, for which the module is rebuilt from the package's space.
        lengths: Lengths of named axes of the inputs besides "batch", by their names; those that are missing are
            `usual_lengths`. Image classifiers have none.

    Raises:
        ProfileError: `batch_size` or `threads` is below 1, `protocol.percent` is not between 0 and 100, a length is not
            allowed, no format can be measured on this machine, a measurement failed, or the lookup table is empty, of another
            space or other settings, or has no operation of a kind that is needed.
        PackageError: The PyTorch module cannot be rebuilt, or the first load of a format took too much time or memory.
        WeightsError: The weights cannot be read, or do not fit the network.
        ExportError: A format cannot be loaded or run.
    """
    if batch_size < 1 or threads < 1:
        raise ProfileError(f"batch_size = {batch_size}, threads = {threads}: both must be at least 1")
    protocol = protocol or TimingProtocol()
    host, manifest = describe_host(), package.manifest
    calls = PackageCalls(package, usual_lengths(package, lengths))
    batch = calls.batch(batch_size)
    no_space = _why_not_imported(package) if rebuild else None
    rebuild = rebuild and no_space is None
    loaders, left_out = _loaders(calls, threads, rebuild=rebuild, openvino=details.openvino)
    left_out |= {} if no_space is None else {"eager": no_space}
    with _torch_threads(threads):
        formats = measure_formats(loaders, batch, batch_size=batch_size, threads=threads, protocol=protocol)
        operators, choices = _where(calls, batch, threads, rebuild) if details.operators else ({}, ())
        real_time = measure_real_time(calls, SERVED if SERVED in loaders else next(iter(loaders)), threads=threads)
    swept = _sweep(calls, loaders, details, host.cores) if details.sweep_seconds > 0 else None
    return ProfileReport(
        model=manifest.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        weights_sha256=manifest.files[WEIGHTS].sha256,
        input=_tensor(manifest.input),
        output=_tensor(manifest.output),
        inputs=() if manifest.classifies_images else tuple(map(_tensor, manifest.inputs)),
        lengths=dict(calls.lengths),
        preprocess=manifest.preprocess,
        host=host,
        rules=_rules(protocol),
        artefacts=tuple(_artefact(package, name) for name in loaders),
        formats=formats,
        left_out=left_out,
        parity=(*package.parity, *_parity_of_openvino(package, loaders, rebuild)),
        memory=_memory(calls, loaders, batch_size, threads) if details.memory else (),
        sweep=swept,
        real_time=real_time,
        operators=operators,
        choices=choices,
        cost=_cost(calls, formats, batch_size, details.table),
    )


def _tensor(entry: TensorEntry) -> TensorEntry:
    """Returns the name, type and shape of an input or output."""
    return TensorEntry(name=entry.name, dtype=entry.dtype, shape=entry.shape)


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
    calls: PackageCalls, threads: int, *, rebuild: bool, openvino: bool
) -> tuple[dict[str, Callable[[], Call]], dict[str, str]]:
    """Returns functions that load the formats that can be measured on this machine, and the reasons why others cannot.

    Both are by the name of the format. Raises ProfileError if no format can be measured.
    """
    package = calls.package
    loaders: dict[str, Callable[[], Call]] = {}
    left_out: dict[str, str] = {}
    if rebuild:
        loaders["eager"] = partial(calls.load, "eager", threads)
    backends: list[Backend] = [name for name in ALL_FORMATS if name in package.manifest.exports]
    for backend in [*backends, *(["openvino"] if openvino else [])]:
        try:
            if backend in FORMATS:
                package.check_trust(backend)  # type: ignore[arg-type]
            if backend in FORMATS and FORMATS[backend].only_cuda:  # type: ignore[index]
                package.runner(backend)  # type: ignore[arg-type]
            if backend == "openvino" and not package.manifest.classifies_images:
                raise ExportError("openvino runs image classifiers only")
        except (ExportError, PackageError) as error:
            left_out[backend] = str(error)
            continue
        loaders[backend] = partial(calls.load, backend, threads)
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
    files = (WEIGHTS,) if name == "eager" else FORMATS[key].files  # type: ignore[index]
    library = {"openvino": "openvino", "eager": "torch"}.get(name) or FORMATS[key].runtime  # type: ignore[index]
    installed = installed_versions(f"{library}-gpu", library)
    return Artefact(
        format=name,
        file=files[0],
        bytes=sum(manifest.files[file].bytes for file in files),
        sha256=manifest.files[files[0]].sha256,
        made=manifest.exports.get(key, {}),  # type: ignore[call-overload]
        runtime=f"{library} {next(iter(installed.values()), 'of unknown version')}",
    )


def _parity_of_openvino(package: Package, loaders: dict[str, Callable[[], Call]], rebuild: bool) -> list[ParityReport]:
    """Compares the outputs of OpenVINO with those of eager PyTorch, as a package has reports for its own formats only.

    Returns one report, or none if OpenVINO or eager PyTorch is not measured.
    """
    if "openvino" not in loaders or not rebuild:
        return []
    batches = prepared_batches(package.manifest.image_preprocess)
    try:
        return [check_parity(EagerRunner(rebuild_model(package)), package.runner("openvino"), batches)]
    except ParityError as error:
        return list(error.args[1:])  # Logits of another shape have no report.


def _where(
    calls: PackageCalls, batch: Any, threads: int, rebuild: bool
) -> tuple[dict[str, tuple[OperatorShare, ...]], tuple[ChoiceShare, ...]]:
    """Measures the time of each operator in "onnx" and in eager PyTorch, by format, and that of each choice in "onnx"."""
    operators: dict[str, tuple[OperatorShare, ...]] = {}
    choices: tuple[ChoiceShare, ...] = ()
    package, manifest, inputs = calls.package, calls.package.manifest, calls.named(batch)
    if SERVED in manifest.exports:
        rows = onnx_operators(package.path / FORMATS[SERVED].file, inputs, threads=threads)
        operators[SERVED] = tuple(rows[:MOST_OPERATORS])
        space = _space(package)
        if space is not None:
            choices = tuple(by_choice(rows, labels_of_modules(space, manifest.arch), manifest.arch))
    if rebuild:
        operators["eager"] = tuple(eager_operators(rebuild_model(package), list(inputs.values()))[:MOST_OPERATORS])
    return operators, choices


def _sweep(calls: PackageCalls, measured: Iterable[str], details: Details, cores: int) -> Sweep | None:
    """Measures the throughput of "onnx", or else of another exported format; returns None if none can be measured."""
    formats = sorted((name for name in measured if name in calls.package.manifest.exports), key=lambda name: name != SERVED)
    if not formats:
        return None
    return sweep(
        formats[0],
        partial(calls.load, formats[0]),
        calls.batch,
        cores=cores,
        seconds=details.sweep_seconds,
        batches=details.batches,
    )


def _memory(calls: PackageCalls, formats: Iterable[str], batch_size: int, threads: int) -> tuple[Memory, ...]:
    if not Path("/proc/self/clear_refs").exists():  # It exists on Linux only.
        return ()
    return measure_memory(calls, formats, batch_size=batch_size, threads=threads)


def _cost(
    calls: PackageCalls, formats: Sequence[FormatLatency], batch_size: int, table: LatencyTable | None
) -> NetworkCost | None:
    """Returns the cost of the network; None if its space is neither found nor may be imported, or the arch does not fit it.

    Raises ProfileError if the lookup table is empty, of another space or other settings, or lacks a kind of operation.
    """
    package, manifest = calls.package, calls.package.manifest
    measured = next((f for f in formats if f.format == SERVED and batch_size == 1), None)
    median = None if measured is None else sorted(measured.samples_ms)[len(measured.samples_ms) // 2]
    space = _space(package)
    if space is None:
        return None
    try:
        if manifest.classifies_images:
            size = manifest.image_preprocess.input_size
            return cost_of(space, manifest.arch, (1, 3, size, size), measured_ms=median, table=table)
        # A length that the network computes from values was not that of the costs when it was measured.
        same = space_lengths(space, calls.lengths) == calls.lengths
        inputs = space.cost_inputs(calls.lengths)
        return cost_of(space, manifest.arch, inputs, measured_ms=median if same else None, table=table)
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
