"""Two versions of the service against each other: short slices in turn, so that what else the machine does hits both alike."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
from load import load
from rich.console import Console
from rich.table import Table
from running import ROOT, Server, hubserve_running

from hubserve.host import cores

BEFORE, NOW = "before", "now"


@dataclass
class Slices:
    """What one version reached with one number of clients.

    Attributes:
        per_second: Answers a second, of each slice.
        cpu_ms: CPU time of the server's processes by answer, of each slice.
        others: Number of answers with another status than 200, and of requests without an answer.
    """

    per_second: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    others: int = 0


def compare(
    before: Path, package: Path, folder: Path, bodies: Sequence[bytes], counts: Sequence[int], seconds: float, pairs: int
) -> None:
    """Starts both versions, with as many threads each as there are cores, and prints their figures.

    Args:
        before: A checkout of the earlier version; it runs with this Python.
        package: The model that both serve.
        folder: Where their stores are made.
        bodies: Images that are sent in turn.
        counts: Numbers of clients.
        seconds: Length of a slice.
        pairs: Slices of each version for each number of clients.
    """
    # Both would choose these by a measurement of their own when they load the model.
    fixed = {"HUBSERVE_THREADS": str(cores()), "HUBSERVE_SESSION_THREADS": "1", "HUBSERVE_MAX_BATCH": "1"}
    with ExitStack() as stack:
        servers = {}
        for name, root in ((BEFORE, before.resolve()), (NOW, ROOT)):
            (folder / name).mkdir()
            running = hubserve_running(package, folder / name, environment=fixed, root=root)
            servers[name] = stack.enter_context(running)
            load(servers[name].port, bodies, clients=8, seconds=3.0)
        found = {count: measure(servers, bodies, count, seconds, pairs) for count in counts}
    show(found, seconds)


def measure(servers: dict[str, Server], bodies: Sequence[bytes], clients: int, seconds: float, pairs: int) -> dict[str, Slices]:
    """Slices of both in turn, the first of a pair being the second of the next."""
    found = {name: Slices() for name in servers}
    for number in range(pairs):
        for name in (BEFORE, NOW) if number % 2 == 0 else (NOW, BEFORE):
            cpu = servers[name].cpu_seconds()
            seen = load(servers[name].port, bodies, clients=clients, seconds=seconds)
            answers = sum(seen.statuses.values())
            found[name].per_second.append(seen.per_second)
            # The last answer to each client comes after the slice, and is not among those that `load` counts.
            found[name].cpu_ms.append((servers[name].cpu_seconds() - cpu) / (answers + clients) * 1e3)
            found[name].others += answers - len(seen.latencies_ms) + seen.lost + seen.unadmitted
    return found


def show(found: dict[int, dict[str, Slices]], seconds: float) -> None:
    """Medians of both, and the median and the quartiles of their ratios by pair."""
    pairs = len(next(iter(found.values()))[NOW].cpu_ms)
    title = f"{pairs} pairs of slices of {seconds:g} s, {cores()} cores; ratio: now / before, median (quartiles)"
    columns = ("clients", "answers/s before", "now", "ratio", "CPU ms/answer before", "now", "ratio", "not 200: before, now")
    table = Table(*columns, title=title)
    for clients, both in found.items():
        before, now = both[BEFORE], both[NOW]
        table.add_row(
            str(clients),
            f"{statistics.median(before.per_second):.1f}",
            f"{statistics.median(now.per_second):.1f}",
            _ratio(now.per_second, before.per_second),
            f"{statistics.median(before.cpu_ms):.2f}",
            f"{statistics.median(now.cpu_ms):.2f}",
            _ratio(now.cpu_ms, before.cpu_ms),
            f"{before.others}, {now.others}",
        )
    Console(width=150).print(table)


def _ratio(now: Sequence[float], before: Sequence[float]) -> str:
    ratios = [one / other if other else float("nan") for one, other in zip(now, before, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"
