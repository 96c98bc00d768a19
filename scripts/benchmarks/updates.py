"""What must not lose a request: a new version under load, and SIGTERM under load."""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx2
import typer

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "servers")]
from load import Load, load
from photos import package_of, pictures
from running import Server, hubserve_running


def main(seconds: float = 10.0, clients: int = 16, model: str = "mobilenetv3-large-100") -> None:
    """Exit code 1 where a request was lost or refused, or a new version took longer than two seconds to be seen."""
    with tempfile.TemporaryDirectory() as name:
        package = package_of(model, Path(name))
        with hubserve_running(package.path, Path(name)) as server:
            published = publish_under_load(server, package.path, seconds, clients)
            stopped = stop_under_load(server, seconds, clients)
    if not (published and stopped):
        raise typer.Exit(1)


def publish_under_load(server: Server, package: Path, seconds: float, clients: int) -> bool:
    """Publishes a version while clients ask, and waits until it answers."""
    done = threading.Event()
    seen: list[Load] = []

    def ask() -> None:
        seen.append(load(server.port, pictures(), clients=clients, seconds=seconds * 20, stop=done.is_set))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(seconds / 3)
    server.hubserve("publish", str(package), "--version", "v2")
    start = time.perf_counter()
    while not answering(server).endswith(":v2") and time.perf_counter() - start < 60:
        time.sleep(0.02)
    took = time.perf_counter() - start
    time.sleep(seconds / 3)
    done.set()
    asking.join()
    (found,) = seen
    print(
        f"publish under load: {found.lost} lost, statuses {dict(found.statuses)}, p99 {found.percentile(99):.0f} ms; "
        f"the new version answers {took:.2f} s after it was published (goal 2)"
    )
    return not found.lost and set(found.statuses) == {200} and took <= 2


def stop_under_load(server: Server, seconds: float, clients: int) -> bool:
    """SIGTERM while clients ask: every request that was admitted gets its answer."""
    timer = threading.Timer(seconds / 3, lambda: os.kill(server.process.pid, signal.SIGTERM))
    timer.start()
    found = load(server.port, pictures(), clients=clients, seconds=seconds * 3)
    server.process.wait(60)
    admitted, answered = map(int, re.findall(r"(\d+) requests were admitted, (\d+) were answered", server.log.read_text())[-1])
    print(
        f"SIGTERM under load: {found.lost} lost, statuses {dict(found.statuses)}; the server counts {admitted} admitted, "
        f"{answered} answered; {found.unadmitted} were sent to where nobody listened any more"
    )
    return not found.lost and set(found.statuses) == {200} and admitted == answered


def answering(server: Server) -> str:
    """The tag of the version that answers now."""
    return str(httpx2.post(f"{server.url}/classify?top_k=1", content=pictures()[0], timeout=60).json()["model"])


if __name__ == "__main__":
    typer.run(main)
