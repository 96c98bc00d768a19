"""Builds a lookup table on this machine: every operation once, then some whole networks; goes on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch

from hubserve.errors import ProfileError
from hubserve.export.exportable_model import ExportableModel
from hubserve.export.format_writers import WRITERS
from hubserve.home import home
from hubserve.host import describe_host
from hubserve.latency.format_latency import Protocol, profile_runners
from hubserve.latency.tables.operation_onnx import measure_unit
from hubserve.latency.tables.table import LatencyTable, NetworkTime, OperationTime, TableError, error_of, same_arch
from hubserve.operations import Operation
from hubserve.package.formats import FORMATS
from hubserve.package.parity import random_batches
from hubserve.space import Arch, ModelSpace

SAVE_SECONDS = 5.0

Progress = Callable[[str, int, int], None]
"""(what is measured, how many are done, how many there are)."""


@dataclass(frozen=True)
class BuildPlan:
    """How much to measure.

    Attributes:
        archs: that are looked through for operations, drawn at random.
        fit_nets: whole networks from which the calibration is learned.
        check_nets: further ones on which the error is measured; 30 say something of it.
        calls: of each operation.
        net_seconds: most time for each network.
        seed: of all draws.
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
    """Where the table of a space lies on this machine, unless somebody chooses: `HUBSERVE_HOME/latency/`."""
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
    measure_net: Callable[[Arch], tuple[float, int]] | None = None,
) -> LatencyTable:
    """The table of a space on this machine, kept in `path` all the while; what that file holds already is not measured again.

    Args:
        space: with its settings applied.
        settings: of the space, for the table.
        path: of the table.
        input_size: side of the pictures, in pixels.
        threads: that a call may use.
        batch_size: pictures of a call.
        plan: how much to measure.
        progress: told after each measurement.
        measure: operation -> ms of its calls; ONNX Runtime's profiler unless given.
        measure_net: arch -> median ms and calls; export and ONNX Runtime unless given.

    Raises:
        ProfileError: `path` holds another table, or one of another machine or another ONNX Runtime.
    """
    plan = plan or BuildPlan()
    table = _start(space, settings, path, input_size, threads, batch_size)
    units = _operations(table, space, plan, progress)
    measure = measure or (lambda unit: measure_unit(unit, threads=threads, calls=plan.calls))
    _measure_units(table, units, path, measure, progress)
    net_timer = measure_net or (lambda arch: time_network(space, arch, table, max_seconds=plan.net_seconds))
    _measure_nets(table, space, path, plan, net_timer, progress)
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
    measure_net: Callable[[Arch], tuple[float, int]] | None = None,
) -> tuple[TableError, list[tuple[float, float]]]:
    """The error on random networks, measured now; and (predicted, measured) ms of each. The table stays as it is.

    Raises:
        ProfileError: no networks, or a table of another space.
        ExportError: a network cannot be exported.
    """
    if nets < 1:
        raise ProfileError(f"nets = {nets}: at least one network must be measured")
    rng, pairs = Random(seed), []
    measure = measure_net or (lambda arch: time_network(space, arch, table, max_seconds=max_seconds))
    for i in range(nets):
        arch = space.random(rng)
        pairs.append((table.predict(space, arch), measure(arch)[0]))
        progress("whole networks", i + 1, nets)
    return error_of(pairs), pairs


def time_network(space: ModelSpace, arch: Mapping[str, Any], table: LatencyTable, *, max_seconds: float) -> tuple[float, int]:
    """Median latency of a whole network in ONNX Runtime, as it would be served, and the number of calls.

    With one thread it is that thread's own time, so what else runs on the machine matters little.

    Raises:
        ExportError: the network cannot be exported.
    """
    shape = (3, table.input_size, table.input_size)
    with torch.random.fork_rng(devices=()), tempfile.TemporaryDirectory(prefix="hubserve.") as folder:
        torch.manual_seed(0)  # Fresh weights do: no kernel looks at the values.
        path = Path(folder) / FORMATS["onnx"].file
        WRITERS["onnx"](ExportableModel(space.freeze(arch), torch.zeros(2, *shape)), path)
        (batch,) = random_batches(shape, sizes=(table.batch_size,))
        protocol = Protocol(percent=90.0, max_seconds=max_seconds)
        loaders = {"onnx": lambda: FORMATS["onnx"].load(path, table.threads, "cpu")}
        clock = time.thread_time if table.threads == 1 else time.perf_counter
        (report,) = profile_runners(loaders, batch, threads=table.threads, protocol=protocol, clock=clock)
    ordered = sorted(report.samples_ms)
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
    foreign = found.foreign(fresh.host)
    if foreign is not None:
        raise ProfileError(
            f"{path} was {foreign}; a table is of one machine and one runtime: remove it to measure anew, or choose another "
            "file with --table"
        )
    return found


def _operations(table: LatencyTable, space: ModelSpace, plan: BuildPlan, progress: Progress) -> dict[str, Operation]:
    """The different operations of some random archs."""
    rng, found = Random(plan.seed), {}
    for i in range(plan.archs):
        found.update({unit.key: unit for unit in table.units_of(space, space.random(rng))})
        progress("archs read", i + 1, plan.archs)
    return found


def _measure_units(
    table: LatencyTable,
    units: Mapping[str, Operation],
    path: Path,
    measure: Callable[[Operation], list[float]],
    progress: Progress,
) -> None:
    missing = [unit for key, unit in units.items() if key not in table.units]
    saved = time.monotonic()
    for i, unit in enumerate(missing):
        table.units[unit.key] = OperationTime.of(measure(unit))
        progress("operations", i + 1, len(missing))
        if time.monotonic() - saved > SAVE_SECONDS:
            table.save(path)
            saved = time.monotonic()
    table.save(path)


def _measure_nets(
    table: LatencyTable,
    space: ModelSpace,
    path: Path,
    plan: BuildPlan,
    measure: Callable[[Arch], tuple[float, int]],
    progress: Progress,
) -> None:
    """Networks that the search for operations did not see, one kind after the other, so that both meet the same weather."""
    rng = Random(plan.seed + 1)
    wanted = plan.fit_nets + plan.check_nets
    for i in range(wanted):
        arch = space.random(rng)
        role = "fit" if i * plan.fit_nets // wanted != (i + 1) * plan.fit_nets // wanted else "check"
        if not any(same_arch(arch, net.arch) for net in table.nets):
            ms, n = measure(arch)
            table.nets.append(NetworkTime.model_validate({"arch": arch, "ms": ms, "n": n, "role": role}))
            table.save(path)
        progress("whole networks", i + 1, wanted)
