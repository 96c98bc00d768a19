"""Memory of a serving process, seconds until it is ready, and seconds of `hubserve predict` for one image."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
import typer
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "servers")]
from photos import package_of, pictures
from running import ROOT, Server, free_port, hubserve_running, running

WORKER = "_bentoml_impl.worker.service"
"""Module that a worker runs, which tells it from its supervisor."""


@dataclass
class Footprint:
    """What was measured, once a round.

    Attributes:
        worker_pss_mb: proportional set size of the worker: its memory, and its share of pages that others have, too.
        worker_rss_mb: resident set size of the worker.
        supervisor_pss_mb: of the process that starts the worker.
        ready_seconds: from the start of `hubserve serve` until /readyz answers 200.
        ready_cpu_seconds: CPU time of all its processes until then.
        predict_seconds: of `hubserve predict` for one image.
        predict_cpu_seconds: its CPU time.
    """

    worker_pss_mb: list[float] = field(default_factory=list)
    worker_rss_mb: list[float] = field(default_factory=list)
    supervisor_pss_mb: list[float] = field(default_factory=list)
    ready_seconds: list[float] = field(default_factory=list)
    ready_cpu_seconds: list[float] = field(default_factory=list)
    predict_seconds: list[float] = field(default_factory=list)
    predict_cpu_seconds: list[float] = field(default_factory=list)


ROWS = (
    ("worker, PSS", "MB", "worker_pss_mb", 350.0),
    ("worker, RSS", "MB", "worker_rss_mb", None),
    ("supervisor, PSS", "MB", "supervisor_pss_mb", None),
    ("ready", "s", "ready_seconds", 5.0),
    ("ready, CPU time", "s", "ready_cpu_seconds", None),
    ("predict", "s", "predict_seconds", 1.5),
    ("predict, CPU time", "s", "predict_cpu_seconds", None),
)
"""Name of each row, its unit, the attribute of `Footprint`, and the goal; None without one."""


def main(model: str = "mobilenetv3-large-100", rounds: int = 5) -> None:
    """Publishes a model, serves it once so that everything is measured and kept, and then `rounds` times.

    Memory is that after 20 answered images.
    """
    found = Footprint()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package, image = package_of(model, folder).path, folder / "photo.jpg"
        image.write_bytes(pictures()[0])
        with hubserve_running(package, folder):
            pass
        for _ in range(rounds):
            measure_server(folder, image.read_bytes(), found)
            measure_prediction(folder, package, image, found)
    show(f"{model}, {rounds} rounds", found)


def measure_server(folder: Path, image: bytes, found: Footprint) -> None:
    """Starts a server on the store that is filled, and adds its figures to `found`."""
    port = free_port()
    command = [sys.executable, "-m", "hubserve", "serve", "--port", str(port)]
    start = time.perf_counter()
    with running(command, folder, port=port, environment={"PYTHONPATH": str(ROOT)}) as server:
        found.ready_seconds.append(time.perf_counter() - start)
        found.ready_cpu_seconds.append(server.cpu_seconds())
        for _ in range(20):
            httpx2.post(f"{server.url}/classify", content=image, timeout=60).raise_for_status()
        worker = worker_of(server)
        memory = worker.memory_full_info()
        found.worker_pss_mb.append(memory.pss / 1e6)
        found.worker_rss_mb.append(memory.rss / 1e6)
        found.supervisor_pss_mb.append(psutil.Process(server.process.pid).memory_full_info().pss / 1e6)


def worker_of(server: Server) -> psutil.Process:
    """The process that answers."""
    (worker,) = (
        process for process in psutil.Process(server.process.pid).children(recursive=True) if WORKER in process.cmdline()
    )
    return worker


def measure_prediction(folder: Path, package: Path, image: Path, found: Footprint) -> None:
    """Classifies an image by the command, and adds its time to `found`."""
    environment = {**os.environ, "HUBSERVE_HOME": str(folder / "hubserve"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "hubserve", "predict", str(package), str(image)]
    start, cpu = time.perf_counter(), cpu_of_children()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    found.predict_seconds.append(time.perf_counter() - start)
    found.predict_cpu_seconds.append(cpu_of_children() - cpu)


def cpu_of_children() -> float:
    """CPU time of all processes that this one started and that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(title: str, found: Footprint) -> None:
    """Prints medians, and least and most, beside the goals."""
    table = Table("", "median", "least to most", "goal", title=title)
    for name, unit, attribute, goal in ROWS:
        values: Sequence[float] = getattr(found, attribute)
        digits = 0 if unit == "MB" else 2
        spread = f"{min(values):.{digits}f} to {max(values):.{digits}f}"
        middle = f"{statistics.median(values):.{digits}f} {unit}"
        table.add_row(name, middle, spread, "" if goal is None else f"{goal:g} {unit}")
    Console(width=100).print(table)


if __name__ == "__main__":
    typer.run(main)
