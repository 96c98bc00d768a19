"""CPU time of an answer, answers a second and latency of the service, against the machine's limit and other servers."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "servers")]
from load import load
from paired import LIMIT, OURS, Contestant, LoadedServer, Slices, limit_running, measure, show
from photos import package_of, pictures
from running import DidNotStart, free_port, hubserve_running, running

from hubserve.host import cores
from hubserve.package.package import Package

SERVERS = Path(__file__).parent / "servers"
BEFORE = "before"
GOAL = 1.03
"""Largest ratio of our CPU time to the limit's that is aimed at."""


@dataclass(frozen=True)
class Contender:
    """A server: its name, its command without the address, and whether it takes images as multipart forms."""

    name: str
    command: tuple[str, ...]
    multipart: bool = False

    def at(self, port: int) -> list[str]:
        """Its command."""
        if self.command[0].endswith(".py"):
            return [sys.executable, *self.command, str(port)]
        return [sys.executable, "-m", *self.command, "--host", "127.0.0.1", "--port", str(port)]


CONTENDERS = (
    Contender("our engine, typed endpoint", ("bentoml", "serve", "typed_bentoml:Typed"), multipart=True),
    Contender("BentoML, tutorial", ("bentoml", "serve", "tutorial_bentoml:Tutorial"), multipart=True),
    Contender("bare Starlette", ("uvicorn", "bare_starlette:app", "--log-level", "error")),
    Contender("LitServe", ("litserve_app.py",), multipart=True),
)


def main(
    seconds: float = 2.0,
    clients: str = "1,8,32,64",
    rounds: int = 10,
    model: str = "mobilenetv3-large-100",
    only: Annotated[str, typer.Option(help="Only those of the other servers whose names have this text.")] = "",
    before: Annotated[Path | None, typer.Option(help="Checkout of an earlier version, which is measured too.")] = None,
) -> None:
    """Starts all servers and asks them in turn, `rounds` slices of `seconds` each, for each number of clients.

    CPU time is that of all processes of a server. Only the server that is asked works, unless one works without requests. The
    limit decodes, prepares and infers in as many threads and in batches as large as our server's, without HTTP.
    """
    counts, bodies = [int(count) for count in clients.split(",")], pictures()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        package = package_of(model, folder)
        contestants = start_all(stack, package, folder, bodies, only, before)
        title = f"{model}, {len(bodies)} photos of 500 x 375, {cores()} cores, {rounds} slices of {seconds:g} s each"
        for count in counts:
            found = measure(contestants, count, seconds, rounds)
            base = LIMIT if before is None else BEFORE
            show(title, count, found, base)
            show_goals(count, found)


def start_all(
    stack: ExitStack, package: Package, folder: Path, bodies: Sequence[bytes], only: str, before: Path | None
) -> dict[str, Contestant]:
    """Starts the servers and the limit, which end with `stack`; those that do not start are reported and left out."""
    found: dict[str, Contestant] = {}
    ours = _started(stack, OURS, lambda: hubserve_running(package.path, _made(folder, OURS)), bodies)
    if ours is not None:
        found[OURS] = ours
    threads, session_threads = _threads(folder / OURS)
    limit = limit_running(package.path, folder, bodies, threads=threads, session_threads=session_threads, ours=ours)
    found[LIMIT] = stack.enter_context(limit)
    if before is not None:
        root = before.resolve()
        earlier = _started(stack, BEFORE, lambda: hubserve_running(package.path, _made(folder, BEFORE), root=root), bodies)
        found |= {BEFORE: earlier} if earlier is not None else {}
    for contender in CONTENDERS:
        if only in contender.name:
            started = start(stack, contender, package, folder, bodies)
            found |= {contender.name: started} if started is not None else {}
    return found


def start(
    stack: ExitStack, contender: Contender, package: Package, folder: Path, bodies: Sequence[bytes]
) -> LoadedServer | None:
    """Starts one of the other servers; None if it does not start."""
    headers = ""
    if contender.multipart:
        headers = "Content-Type: multipart/form-data; boundary=frontier\r\n"
        bodies = [_form(body) for body in bodies]
    port = free_port()
    # All prepare images as the model wants them: another resize would be less work, and other answers.
    environment = {
        "BENCH_PACKAGE": str(package.path),
        "BENCH_MODEL": str(package.path / "model.onnx"),
        "BENCH_INTERPOLATION": package.manifest.preprocess.interpolation,
    }

    def server():
        return running(contender.at(port), _made(folder, contender.name), port=port, environment=environment, cwd=SERVERS)

    return _started(stack, contender.name, server, bodies, headers)


def _started(stack: ExitStack, name: str, server, bodies: Sequence[bytes], headers: str = "") -> LoadedServer | None:
    try:
        started = stack.enter_context(server())
        load(started.port, bodies, clients=8, seconds=2.0, headers=headers)
    except (DidNotStart, OSError) as error:  # What the others reach is worth knowing nevertheless.
        print(f"{name} is not measured: {error}", file=sys.stderr)
        return None
    return LoadedServer(started, bodies, headers)


def _made(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def _threads(folder: Path) -> tuple[int, int]:
    """Returns the threads, and the cores of each, that our server measured as the fastest; else one thread a core."""
    try:
        (way,) = json.loads((folder / "hubserve" / "serving.json").read_text()).values()
    except (OSError, ValueError):
        return cores(), 1
    return way["threads"], way["session_threads"]


def _form(body: bytes) -> bytes:
    head = b'--frontier\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head + body + b"\r\n--frontier--\r\n"


def show_goals(clients: int, found: dict[str, Slices]) -> None:
    """Prints our CPU time beside the limit's, and the goal."""
    if OURS in found:
        ratios = [ours / limit for ours, limit in zip(found[OURS].cpu_ms, found[LIMIT].cpu_ms, strict=True)]
        print(f"{clients} clients: {statistics.median(ratios):.3f} of the limit's CPU time (goal {GOAL})")


if __name__ == "__main__":
    typer.run(main)
