"""Builds and checks lookup tables: measures each operation of a space once, and then some whole networks.

The table is saved while it is built, so a build that was interrupted continues where it stopped.
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
from hubserve.hub.registry import space_name
from hubserve.latency.arch_latency import MeasuredLatency
from hubserve.latency.lengths import space_lengths
from hubserve.latency.tables.latency_table import LatencyTable, same_arch
from hubserve.latency.tables.operation_onnx import time_operation
from hubserve.latency.tables.records import NetworkTime, OperationTime, TableError
from hubserve.operations import Operation
from hubserve.space import Arch, ModelSpace

SAVE_SECONDS = 5.0

DRAWS = 1000
"""Largest number of random archs that are drawn until a table was not fitted to one of them."""

Progress = Callable[[str, int, int], None]
"""Function that is called with the kind of what is measured, the number measured so far, and the total number."""


@dataclass(frozen=True)
class BuildPlan:
    """How many operations and networks are measured for a table, and for how long.

    Attributes:
        archs: Number of random archs whose operations are measured.
        fit_nets: Number of whole networks to which the calibration is fitted; with 0, a prediction is the sum of the times of
            the operations.
        check_nets: Number of further networks on which the error is measured; at least 30 for a useful estimate.
        calls: Largest number of calls of each operation.
        net_seconds: Longest time in seconds to measure each network.
        seed: Seed of all random archs.
    """

    archs: int = 60
    fit_nets: int = 16
    check_nets: int = 32
    calls: int = 30
    net_seconds: float = 2.0
    seed: int = 0


def default_path(
    space: ModelSpace,
    settings: Mapping[str, Any],
    *,
    input_size: int | None,
    threads: int = 1,
    batch_size: int = 1,
    lengths: Mapping[str, int] | None = None,
) -> Path:
    """Returns the default path of a table, in the folder latency/ of `home()`; its name depends on all arguments.

    Args:
        space: Model space with its settings.
        settings: Settings of the space, by name.
        input_size: Height and width of the images, in pixels; None for a space whose networks take other inputs.
        threads: Number of threads that a call may use.
        batch_size: Number of images, or rows of inputs, in a call.
        lengths: Lengths of named axes of other inputs than images; None gives none, and the usual ones are taken.

    Raises:
        ProfileError: A length is not allowed.
    """
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True, default=str).encode()).hexdigest()[:8]
    settled = f"-{digest}" if settings else ""
    named_axes = [f"{axis}{length}" for axis, length in space_lengths(space, lengths).items()]
    sizes = [*([] if input_size is None else [f"{input_size}px"]), *named_axes]
    calls = "-".join([*sizes, f"{threads}t", *([f"{batch_size}b"] if batch_size > 1 else [])])
    named = space_name(space).replace(":", "-")
    return home() / "latency" / f"{named}{settled}-{calls}.json"


def build_table(
    space: ModelSpace,
    settings: Mapping[str, Any],
    path: Path,
    *,
    input_size: int | None,
    threads: int = 1,
    batch_size: int = 1,
    lengths: Mapping[str, int] | None = None,
    plan: BuildPlan | None = None,
    progress: Progress = lambda what, done, total: None,
    draw: Callable[[Random], Arch] | None = None,
    measure: Callable[[Operation], list[float]] | None = None,
    measure_network: Callable[[Arch], tuple[float, int]] | None = None,
) -> LatencyTable:
    """Measures the table of a space on this machine, saves it at `path`, and returns it.

    Operations and networks that are in a table at `path` already are not measured again.

    Args:
        space: Model space with its settings.
        settings: Settings of the space by name, for the record.
        path: File of the table, which is saved every few seconds.
        input_size: Height and width of the images, in pixels; None for a space whose networks take other inputs.
        threads: Number of threads that a call may use.
        batch_size: Number of images, or rows of inputs, in a call.
        lengths: Lengths of named axes of other inputs than images; those that are missing are the usual ones of the space.
        plan: How much is measured; None takes the defaults of `BuildPlan`.
        progress: Function that is called after each arch whose operations are listed and after each measurement.
        draw: Function that gets a random generator and returns an arch, whose operations are measured or which is measured as a
            whole network; None draws from all of `space`.
        measure: Function that gets an operation and returns the milliseconds of each call; None takes `time_operation`.
        measure_network: Function that gets an arch and returns (median milliseconds, number of calls); None takes
            `time_network`.

    Raises:
        ProfileError: `path` holds no table, or one of another space, settings, image size, lengths, batch size or number of
            threads, or of another machine or ONNX Runtime; a length is not allowed; or an operation cannot be measured.
        ExportError: A network cannot be exported.
        OSError: The table cannot be written.
    """
    plan = plan or BuildPlan()
    lengths = space_lengths(space, lengths)
    fresh = LatencyTable(
        space=space_name(space),
        settings=dict(settings),
        input_size=input_size,
        lengths=lengths,
        threads=threads,
        batch_size=batch_size,
        host=describe_host(),
    )
    table = _continued(path, space, fresh) if path.exists() else fresh
    draw = draw or space.random
    operations = _operations(table, space, plan, draw, progress)
    measure = measure or (lambda operation: time_operation(operation, threads=threads, calls=plan.calls))
    _measure_operations(table, operations, path, measure, progress)
    net_timer = measure_network or (lambda arch: time_network(space, arch, table, max_seconds=plan.net_seconds))
    _measure_networks(table, path, plan, draw, net_timer, progress)
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
    """Measures random networks and compares them with the predictions of a table, which is not changed.

    Args:
        table: Lookup table of the space.
        space: Model space with its settings.
        nets: Number of random networks, at least 1.
        seed: Seed of the random networks. Networks to which the table was fitted are passed over.
        max_seconds: Longest time in seconds to measure each network.
        progress: Function that is called after each network.
        measure_network: Function that gets an arch and returns (median milliseconds, number of calls); None takes
            `time_network`.

    Returns:
        The error of the predictions, and (predicted, measured) milliseconds of each network.

    Raises:
        ProfileError: `nets` is below 1, the table is empty, of another space or other settings, or has no operation of a kind
            that is needed, or was fitted to all networks that were drawn.
        ExportError: A network cannot be exported.
    """
    if nets < 1:
        raise ProfileError(f"nets = {nets}: at least one network must be measured")
    rng, pairs = Random(seed), []
    measure = measure_network or (lambda arch: time_network(space, arch, table, max_seconds=max_seconds))
    for i in range(nets):
        arch = _unfitted_arch(table, space, rng)
        pairs.append((table.predict(space, arch), measure(arch)[0]))
        progress("whole networks", i + 1, nets)
    return TableError.of(pairs), pairs


def _unfitted_arch(table: LatencyTable, space: ModelSpace, rng: Random) -> Arch:
    """Returns a random arch whose network the table was not fitted to, since the error of those is too small.

    Raises ProfileError if `DRAWS` random archs are all fitted ones.
    """
    fitted = [net.arch for net in table.networks if net.role == "fit"]
    for _ in range(DRAWS):
        arch = space.random(rng)
        if not any(same_arch(arch, other) for other in fitted):
            return arch
    raise ProfileError(
        f"the table was fitted to each of {DRAWS} random networks of {space_name(space)}, so its error cannot be measured on "
        "others; build it with fewer networks"
    )


def time_network(space: ModelSpace, arch: Mapping[str, Any], table: LatencyTable, *, max_seconds: float) -> tuple[float, int]:
    """Exports a network to ONNX, measures it, and returns its median latency in milliseconds and the number of calls.

    With one thread, the CPU time of that thread is measured, so that other work on the machine has little influence.

    Args:
        space: Model space with its settings.
        arch: Chosen value of each choice, by label.
        table: Lookup table that sets the image size or the lengths, the batch size and the number of threads.
        max_seconds: Longest time in seconds to measure the network.

    Raises:
        ArchError: The arch does not belong to the space.
        ExportError: The network cannot be exported.
        ProfileError: The networks take images, and neither the table nor the space has their size.
    """
    clock = time.thread_time if table.threads == 1 else time.perf_counter
    latency = MeasuredLatency(
        table.input_size, table.batch_size, table.threads, max_seconds, percent=90.0, clock=clock, lengths=table.lengths
    )
    ordered = sorted(latency.measure(space, arch).samples_ms)
    return ordered[len(ordered) // 2], len(ordered)


def _continued(path: Path, space: ModelSpace, fresh: LatencyTable) -> LatencyTable:
    """Returns the table at `path`, whose build goes on.

    Raises ProfileError if there is no table, or it is for other calls than `fresh` or of another machine or ONNX Runtime.
    """
    found = LatencyTable.load(path)
    found.check_fit(
        path,
        space,
        input_size=fresh.input_size,
        threads=fresh.threads,
        batch_size=fresh.batch_size,
        lengths=fresh.lengths,
    )
    difference = found.difference_to_host(fresh.host)
    if difference is not None:
        raise ProfileError(
            f"{path} was {difference}; a table is of one machine and one runtime: remove it to measure anew, or choose another "
            "file with --table"
        )
    return found


def _operations(
    table: LatencyTable, space: ModelSpace, plan: BuildPlan, draw: Callable[[Random], Arch], progress: Progress
) -> dict[str, Operation]:
    """Returns the operations of `plan.archs` random archs by key, each of them once."""
    rng, found = Random(plan.seed), {}
    for i in range(plan.archs):
        found.update({operation.key: operation for operation in table.operations_of(space, draw(rng))})
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
    path: Path,
    plan: BuildPlan,
    draw: Callable[[Random], Arch],
    measure: Callable[[Arch], tuple[float, int]],
    progress: Progress,
) -> None:
    """Measures random networks and adds them to the table, except for those that it already has.

    Networks for the calibration alternate with networks for the error, so that other work on the machine affects both.
    """
    rng = Random(plan.seed + 1)
    wanted = plan.fit_nets + plan.check_nets
    for i in range(wanted):
        arch = draw(rng)
        role = "fit" if i * plan.fit_nets // wanted != (i + 1) * plan.fit_nets // wanted else "check"
        if not any(same_arch(arch, net.arch) for net in table.networks):
            ms, n = measure(arch)
            table.networks.append(NetworkTime.model_validate({"arch": arch, "ms": ms, "n": n, "role": role}))
            table.save(path)
        progress("whole networks", i + 1, wanted)
