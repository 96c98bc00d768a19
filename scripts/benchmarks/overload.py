"""Four times as many requests as the service can answer: refusals at once, and no harm to those that are admitted."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import typer

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "servers")]
from load import load, offer, percentile
from photos import package_of, pictures
from running import hubserve_running

from hubserve.service.settings import ServiceSettings


def main(seconds: float = 60.0, factor: float = 4.0, model: str = "mobilenetv3-large-100") -> None:
    """Exit code 1 where the goals are missed.

    Saturation is a closed loop of as many clients as may be in the house: the service is full, and refuses nobody. Overload
    is an open loop: so many requests a second as a multiple of that, whether they are answered or not.
    """
    clients = ServiceSettings.from_environment().max_waiting
    bodies = pictures()
    with tempfile.TemporaryDirectory() as name:
        package = package_of(model, Path(name))
        with hubserve_running(package.path, Path(name)) as server:
            load(server.port, bodies, clients=8, seconds=3)
            full = load(server.port, bodies, clients=clients, seconds=max(seconds / 4, 5))
            over = offer(server.port, bodies, rate=factor * full.per_second, seconds=seconds)
            again = load(server.port, bodies, clients=clients, seconds=5)
            alive = server.process.poll() is None
    ratio = over.percentile(99) / full.percentile(99)
    print(
        f"saturation, {clients} clients: {full.per_second:.0f} answers/s, p50 {full.percentile(50):.0f} ms, "
        f"p99 {full.percentile(99):.0f} ms, statuses {dict(full.statuses)}"
    )
    print(
        f"overload, {factor:g} x for {seconds:g} s: {over.per_second:.0f} answers/s, p50 {over.percentile(50):.0f} ms, "
        f"p99 {over.percentile(99):.0f} ms = {ratio:.2f} x that of saturation (goal 2), statuses {dict(over.statuses)}, "
        f"lost {over.lost}"
    )
    print(f"refusals: p50 {percentile(over.refusals_ms, 50):.1f} ms, p99 {percentile(over.refusals_ms, 99):.1f} ms")
    print(f"afterwards: {again.per_second:.0f} answers/s, p99 {again.percentile(99):.0f} ms; alive: {alive}")
    if ratio > 2 or over.lost or not alive or set(over.statuses) - {200, 503}:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
