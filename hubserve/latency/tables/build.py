"""Builds a lookup table on this machine: measures every operation once, then some whole networks.

The table is written as it grows, so a build that was stopped goes on where it was.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from hubserve.errors import ProfileError
from hubserve.home import home
from hubserve.host import describe_host
from hubserve.latency.arch_latency import MeasuredLatency
from hubserve.latency.tables.latency_table import LatencyTable, same_arch
from hubserve.latency.tables.operation_onnx import time_operation
from hubserve.latency.tables.records import NetworkTime, OperationTime, TableError
from hubserve.operations import Operation
from hubserve.space import Arch, ModelSpace

SAVE_SECONDS = 5.0

Progress = Callable[[str, int, int], None]
"""Called with what is measured, how many are done, and how many there are."""


@dataclass(frozen=True)
class BuildPlan:
    """How much to measure.

    Attributes:
        archs: Number of random archs whose operations are measured.
        fit_nets: Number of whole networks to which the calibration is fitted; 0 for the plain sum.
        check_nets: Number of further networks on which the error is measured; at least 30 for a useful estimate.
        calls: Calls of each operation.
        net_seconds: Most seconds for each network.
        seed: Seed of all random archs.
    """

    archs: int = 60
    fit_nets: int = 16
    check_nets: int = 32
    calls: int = 30
    net_seconds: float = 2.0
    seed: int = 0


def default_path(
    space: ModelSpace, settings: Mapping[str, Any], *, input_size: int, threads: int = 1, batch_size: int = 1
) -> Path:
    """File of the table of a space unless another one is named: in `HUBSERVE_HOME/latency/`, its name says what it is for."""
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True, default=str).encode()).hexdigest()[:8]
    settled = f"-{digest}" if settings else ""
    calls = f"{input_size}px-{threads}t" + (f"-{batch_size}b" if batch_size > 1 else "")
    return home() / "latency" / f"{type(space).__name__}{settled}-{calls}.json"


def build_table(
    space: ModelSpace,
    settings: Mapping[str, Any],
    path: Path,
    *,
    input_size: int,
    threads: int = 1,
    batch_size: int = 1,
    plan: BuildPlan | None = None,
    progress: Progress = lambda what, done, total: None,
    measure: Callable[[Operation], list[float]] | None = None,
    measure_network: Callable[[Arch], tuple[float, int]] | None = None,
) -> LatencyTable:
    """Measures the table of a space on this machine; what the file `path` holds already is not measured again.

    Args:
        space: Model space with its settings.
        settings: Settings of the space by name, for the record.
        path: File of the table, written again every few seconds.
        input_size: Side of the images, in pixels.
        threads: Threads that a call may use.
        batch_size: Images of a call.
        plan: How much to measure; the defaults of `BuildPlan` where None.
        progress: Called after each measurement.
        measure: Function from an operation to the ms of its calls; the profiler of ONNX Runtime where None.
        measure_network: Function from an arch to median ms and number of calls; export and ONNX Runtime where None.

    Raises:
        ProfileError: `path` holds another table, or one of another machine or another ONNX Runtime.
        ExportError: A network cannot be exported.
    """
    plan = plan or BuildPlan()
    table = _start(space, settings, path, input_size, threads, batch_size)
    operations = _operations(table, space, plan, progress)
    measure = measure or (lambda operation: time_operation(operation, threads=threads, calls=plan.calls))
    _measure_operations(table, operations, path, measure, progress)
    net_timer = measure_network or (lambda arch: time_network(space, arch, table, max_seconds=plan.net_seconds))
    _measure_networks(table, space, path, plan, net_timer, progress)
    table = table.recalibrated(space)
    table.save(path)
    return table


def check_table(
    table: LatencyTable,
    space: ModelSpace,
    *,
    nets: int,
    seed: int,
    max_seconds: float = 2.0,
    progress: Progress = lambda what, done, total: None,
    measure_network: Callable[[Arch], tuple[float, int]] | None = None,
) -> tuple[TableError, list[tuple[float, float]]]:
    """Measures random networks and compares them with the predictions; the table is not changed.

    Args:
        table: Lookup table of the space.
        space: Model space with its settings.
        nets: Number of random networks, at least 1.
        seed: Seed of the random networks; not that of the build, whose networks the table knows.
        max_seconds: Most seconds for each network.
        progress: Called after each network.
        measure_network: Function from an arch to median ms and number of calls; export and ONNX Runtime where None.

    Returns:
        The error, and (predicted, measured) ms of each network.

    Raises:
        ProfileError: `nets` is below 1, or the table is of another space.
        ExportError: A network cannot be exported.
    """
    if nets < 1:
        raise ProfileError(f"nets = {nets}: at least one network must be measured")
    rng, pairs = Random(seed), []
    measure = measure_network or (lambda arch: time_network(space, arch, table, max_seconds=max_seconds))
    for i in range(nets):
        arch = space.random(rng)
        pairs.append((table.predict(space, arch), measure(arch)[0]))
        progress("whole networks", i + 1, nets)
    return TableError.of(pairs), pairs


def time_network(space: ModelSpace, arch: Mapping[str, Any], table: LatencyTable, *, max_seconds: float) -> tuple[float, int]:
    """Median latency of a whole network as it will be served, in ms, and the number of calls.

    With one thread it is the CPU time of that thread, so what else runs on the machine has little influence.

    Raises:
        ExportError: The network cannot be exported.
    """
    clock = time.thread_time if table.threads == 1 else time.perf_counter
    latency = MeasuredLatency(table.input_size, table.batch_size, table.threads, max_seconds, percent=90.0, clock=clock)
    ordered = sorted(latency.measure(space, arch).samples_ms)
    return ordered[len(ordered) // 2], len(ordered)


def _start(
    space: ModelSpace, settings: Mapping[str, Any], path: Path, input_size: int, threads: int, batch_size: int
) -> LatencyTable:
    fresh = LatencyTable(
        space=type(space).__name__,
        settings=dict(settings),
        input_size=input_size,
        threads=threads,
        batch_size=batch_size,
        host=describe_host(),
    )
    if not path.exists():
        return fresh
    found = LatencyTable.load(path)
    found.check_fit(path, space, input_size=input_size, threads=threads, batch_size=batch_size)
    difference = found.difference_to_host(fresh.host)
    if difference is not None:
        raise ProfileError(
            f"{path} was {difference}; a table is of one machine and one runtime: remove it to measure anew, or choose another "
            "file with --table"
        )
    return found


def _operations(table: LatencyTable, space: ModelSpace, plan: BuildPlan, progress: Progress) -> dict[str, Operation]:
    """The different operations of some random archs."""
    rng, found = Random(plan.seed), {}
    for i in range(plan.archs):
        found.update({operation.key: operation for operation in table.operations_of(space, space.random(rng))})
        progress("archs read", i + 1, plan.archs)
    return found


def _measure_operations(
    table: LatencyTable,
    operations: Mapping[str, Operation],
    path: Path,
    measure: Callable[[Operation], list[float]],
    progress: Progress,
) -> None:
    missing = [operation for key, operation in operations.items() if key not in table.operations]
    saved = time.monotonic()
    for i, operation in enumerate(missing):
        table.operations[operation.key] = OperationTime.of(measure(operation))
        progress("operations", i + 1, len(missing))
        if time.monotonic() - saved > SAVE_SECONDS:
            table.save(path)
            saved = time.monotonic()
    table.save(path)


def _measure_networks(
    table: LatencyTable,
    space: ModelSpace,
    path: Path,
    plan: BuildPlan,
    measure: Callable[[Arch], tuple[float, int]],
    progress: Progress,
) -> None:
    """Measures random networks for the calibration and for the error in turn: what else the machine does affects both."""
    rng = Random(plan.seed + 1)
    wanted = plan.fit_nets + plan.check_nets
    for i in range(wanted):
        arch = space.random(rng)
        role = "fit" if i * plan.fit_nets // wanted != (i + 1) * plan.fit_nets // wanted else "check"
        if not any(same_arch(arch, net.arch) for net in table.networks):
            ms, n = measure(arch)
            table.networks.append(NetworkTime.model_validate({"arch": arch, "ms": ms, "n": n, "role": role}))
            table.save(path)
        progress("whole networks", i + 1, wanted)
