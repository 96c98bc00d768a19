"""Several servers and the limit, measured in turn: short slices, so that what else the machine does hits all alike."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
import httpx2
from load import load, percentile
from rich.console import Console
from rich.table import Table
from running import ROOT, Server

LIMIT, OURS = "limit", "hubserve"

_BATCHES = re.compile(r"^hubserve_batch_images_(sum|count)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass
class Slices:
    """What a server reached with a number of clients.

    Attributes:
        per_second: Answers a second, of each slice.
        cpu_ms: CPU time by answer (user and system, all processes of the server), of each slice.
        latencies_ms: Of all answers with status 200.
        others: Number of answers with another status, and of requests without an answer.
    """

    per_second: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    others: int = 0


class Contestant(Protocol):
    """What is measured."""

    def slice(self, clients: int, seconds: float, found: Slices) -> None:
        """Works for some seconds and adds the figures to `found`."""
        ...


@dataclass
class LoadedServer:
    """A server that runs, and the requests that it gets.

    Attributes:
        server: The server.
        bodies: Bodies that are sent in turn.
        headers: Further headers of each request, each with its line break.
        batch: Mean batch size in the last slice, as /metrics says; 1 where it says nothing.
    """

    server: Server
    bodies: Sequence[bytes]
    headers: str = ""
    batch: float = 1.0

    def slice(self, clients: int, seconds: float, found: Slices) -> None:
        """Answers the clients for some seconds."""
        before, cpu = self._batches(), self.server.cpu_seconds()
        seen = load(self.server.port, self.bodies, clients=clients, seconds=seconds, headers=self.headers)
        cpu = self.server.cpu_seconds() - cpu
        batches, images = (after - earlier for after, earlier in zip(self._batches(), before, strict=True))
        self.batch = images / batches if batches else 1.0
        answers = sum(seen.statuses.values())
        found.per_second.append(seen.per_second)
        # The last answer to each client comes after the slice, and is not among those that `load` counts.
        found.cpu_ms.append(cpu / (answers + clients) * 1e3)
        found.latencies_ms += seen.latencies_ms
        found.others += answers - len(seen.latencies_ms) + seen.lost + seen.unadmitted

    def _batches(self) -> tuple[float, float]:
        """Number of batches and of images so far; zeros where the server does not say."""
        try:
            text = httpx2.get(f"{self.server.url}/metrics").text
        except httpx2.HTTPError:
            return 0.0, 0.0
        found = {"sum": 0.0, "count": 0.0}
        for name, value in _BATCHES.findall(text):
            found[name] += float(value)
        return found["count"], found["sum"]


@dataclass
class LimitProcess:
    """The process of `limit.py`.

    Attributes:
        process: The process.
        threads: Most threads that it uses; as many as clients, if those are fewer.
        ours: The server whose batch sizes it uses.
    """

    process: subprocess.Popen[str]
    threads: int
    ours: LoadedServer | None

    def slice(self, clients: int, seconds: float, found: Slices) -> None:
        """Answers images without HTTP, in batches as our server's last ones."""
        batch = self.ours.batch if self.ours else 1.0
        told = {"threads": min(clients, self.threads), "batch": batch, "seconds": seconds}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        seen = json.loads(self.process.stdout.readline())
        found.per_second.append(seen["images"] / seen["wall"])
        found.cpu_ms.append(seen["cpu"] / seen["images"] * 1e3)


@contextmanager
def limit_running(
    package: Path, folder: Path, bodies: Sequence[bytes], *, threads: int, session_threads: int, ours: LoadedServer | None
) -> Iterator[LimitProcess]:
    """The limit as a process of its own, which imports what a server imports, until the end of the block."""
    images = folder / "images"
    images.mkdir()
    for number, body in enumerate(bodies):
        (images / f"{number:03}").write_bytes(body)
    command = [sys.executable, str(Path(__file__).parent / "limit.py"), str(images), str(session_threads)]
    environment = {
        **os.environ,
        "BENCH_PACKAGE": str(package),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield LimitProcess(process, threads, ours)
        finally:
            process.kill()


def measure(contestants: dict[str, Contestant], clients: int, seconds: float, rounds: int) -> dict[str, Slices]:
    """Slices of all in turn; each second round in the opposite order. Our server is asked before the limit in the first one."""
    found = {name: Slices() for name in contestants}
    for number in range(rounds):
        for name in [*contestants][:: -1 if number % 2 else 1]:
            contestants[name].slice(clients, seconds, found[name])
    return found


def show(title: str, clients: int, found: dict[str, Slices], base: str) -> None:
    """Prints a table of one number of clients: medians, and the medians and quartiles of the ratios to `base` by round."""
    columns = ("", "CPU ms an answer", f"by that of {base} (quartiles)", "answers/s", f"by {base}", "p50, p99 ms", "not 200")
    table = Table(*columns, title=f"{clients} clients; {title}")
    for name, slices in found.items():
        latencies = slices.latencies_ms
        table.add_row(
            name,
            f"{statistics.median(slices.cpu_ms):.2f}",
            ratio(slices.cpu_ms, found[base].cpu_ms),
            f"{statistics.median(slices.per_second):.1f}",
            ratio(slices.per_second, found[base].per_second),
            f"{percentile(latencies, 50):.0f}, {percentile(latencies, 99):.0f}" if latencies else "",
            str(slices.others or ""),
        )
    Console(width=150).print(table)


def ratio(ours: Sequence[float], others: Sequence[float]) -> str:
    """Median and quartiles of the ratios of slices of the same round, as text."""
    ratios = [one / other if other else float("nan") for one, other in zip(ours, others, strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"
