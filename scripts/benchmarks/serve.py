"""Requests a second and latency of the service, against the machine's limit and what people would pick instead."""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "servers")]
from load import Load, load
from paired import compare
from photos import package_of, pictures
from running import DidNotStart, free_port, hubserve_running, running

from hubserve.host import cores
from hubserve.package.package import Package
from hubserve.service.concurrency_tuning import candidate_concurrencies
from hubserve.service.engine import Engine

SERVERS = Path(__file__).parent / "servers"


@dataclass(frozen=True)
class Contender:
    """A server: its name, its command without the address, and whether it wants its pictures in a form."""

    name: str
    command: tuple[str, ...]
    multipart: bool = False

    def at(self, port: int) -> list[str]:
        """Its command."""
        if self.command[0].endswith(".py"):
            return [sys.executable, *self.command, str(port)]
        return [sys.executable, "-m", *self.command, "--host", "127.0.0.1", "--port", str(port)]


OURS = "hubserve"
TUTORIAL = "BentoML, tutorial"
CONTENDERS = (
    Contender(OURS, ()),
    Contender("our engine, typed endpoint", ("bentoml", "serve", "typed_bentoml:Typed"), multipart=True),
    Contender(TUTORIAL, ("bentoml", "serve", "tutorial_bentoml:Tutorial"), multipart=True),
    Contender("bare Starlette", ("uvicorn", "bare_starlette:app", "--log-level", "error")),
    Contender("LitServe", ("litserve_app.py",), multipart=True),
)

Results = dict[str, list[list[Load]]]
"""Name -> for each round, for each number of clients."""


def main(
    seconds: float = 5.0,
    clients: str = "1,8,32,64",
    rounds: int = 3,
    model: str = "mobilenetv3-large-100",
    only: str = "",
    before: Annotated[Path | None, typer.Option(help="Checkout of an earlier version: compares ours with it alone.")] = None,
) -> None:
    """Rounds in which each server runs alone, and the limit is taken anew: what else the machine does hits all alike.

    With --before, the two versions run at once and are asked in turn, `rounds` slices of `seconds` each.
    """
    counts = [int(count) for count in clients.split(",")]
    bodies, limits = pictures(), []
    chosen = [contender for contender in CONTENDERS if only in contender.name]
    found: Results = {contender.name: [] for contender in chosen}
    with tempfile.TemporaryDirectory() as name:
        package = package_of(model, Path(name))
        if before is not None:
            compare(before, package.path, Path(name), bodies, counts, seconds, rounds)
            return
        for number in range(rounds):
            limits.append(measure_limit(package, bodies, seconds))
            for contender in chosen:
                folder = Path(name) / f"{number}{contender.name}"
                folder.mkdir()
                print(f"round {number + 1}: {contender.name}", file=sys.stderr)
                try:
                    found[contender.name].append(measure(contender, package, folder, bodies, counts, seconds))
                except (DidNotStart, OSError) as error:  # What the others reached is worth telling nevertheless.
                    print(f"  not measured: {error}", file=sys.stderr)
    limit = statistics.median(limits)
    told = ", ".join(f"{value:.0f}" for value in limits)
    title = f"{model}, {len(bodies)} photos, {cores()} cores, medians of {rounds} rounds; limit without HTTP: {told} pictures/s"
    show(title, found, counts, limit)


def measure_limit(package: Package, bodies: Sequence[bytes], seconds: float) -> float:
    """Pictures a second by threads with nothing in between, in the best way to use the cores."""
    torch.set_num_threads(1)
    ways = candidate_concurrencies("cpu")
    engines = {count: Engine(package, device="cpu", threads=count) for count in {way.session_threads for way in ways}}
    turn = max(2 * seconds / len(ways), 0.5)
    return max(_speed(engines[way.session_threads], bodies, way.threads, way.max_batch, turn) for way in ways)


def _speed(engine: Engine, bodies: Sequence[bytes], threads: int, size: int, seconds: float) -> float:
    done = [0] * threads
    start = time.perf_counter()

    def work(place: int) -> None:
        for number in itertools.count():
            engine.answer([engine.prepare(bodies[(number + i) % len(bodies)]) for i in range(size)])
            done[place] += size
            if time.perf_counter() - start >= seconds:
                return

    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) / (time.perf_counter() - start)


def measure(
    contender: Contender, package: Package, folder: Path, bodies: Sequence[bytes], counts: list[int], seconds: float
) -> list[Load]:
    """One server, alone, under each number of clients."""
    headers = ""
    if contender.multipart:
        headers = "Content-Type: multipart/form-data; boundary=frontier\r\n"
        bodies = [_form(body) for body in bodies]
    port = free_port()
    # All prepare pictures as the model wants them: another resize would be less work, and other answers.
    environment = {
        "BENCH_PACKAGE": str(package.path),
        "BENCH_MODEL": str(package.path / "model.onnx"),
        "BENCH_INTERPOLATION": package.manifest.preprocess.interpolation,
    }
    server = (
        hubserve_running(package.path, folder)
        if contender.name == OURS
        else running(contender.at(port), folder, port=port, environment=environment, cwd=SERVERS)
    )
    with server as started:
        load(started.port, bodies, clients=8, seconds=min(3.0, seconds), headers=headers)
        return [load(started.port, bodies, clients=count, seconds=seconds, headers=headers) for count in counts]


def _form(body: bytes) -> bytes:
    head = b'--frontier\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head + body + b"\r\n--frontier--\r\n"


def show(title: str, found: Results, counts: list[int], limit: float) -> None:
    """Medians over the rounds, and the goals."""
    table = Table("", *itertools.chain.from_iterable((f"c{count} req/s", "p50", "p99 ms") for count in counts), title=title)
    for name, rounds in found.items():
        if not rounds:
            table.add_row(name, "not measured")
            continue
        cells = []
        for place in range(len(counts)):
            seen = [loads[place] for loads in rounds]
            others = sum(sum(load.statuses.values()) - len(load.latencies_ms) + load.lost for load in seen)
            speed = statistics.median(load.per_second for load in seen)
            cells.append(f"{speed:.0f}" + (f" ({others} not 200)" if others else ""))
            cells += [f"{statistics.median(load.percentile(percent) for load in seen):.0f}" for percent in (50, 99)]
        table.add_row(name, *cells)
    console = Console(width=150)
    console.print(table)
    if found.get(OURS) and 32 in counts:
        show_goals(console, found, counts.index(32), limit)


def show_goals(console: Console, found: Results, place: int, limit: float) -> None:
    """What was aimed at, beside what was reached."""
    speed = {name: statistics.median(loads[place].per_second for loads in rounds) for name, rounds in found.items() if rounds}
    tail = statistics.median(loads[place].percentile(99) / loads[place].percentile(50) for loads in found[OURS])
    console.print(f"at 32 clients: {speed[OURS] / limit:.2f} of the limit (goal 0.85), p99 / p50 = {tail:.2f} (goal below 1.6)")
    for name, other in speed.items():
        if name != OURS and other:
            goal = 2.5 if name == TUTORIAL else 1
            console.print(f"  {speed[OURS] / other:.2f} times {name} (goal {goal:g})")


if __name__ == "__main__":
    typer.run(main)
