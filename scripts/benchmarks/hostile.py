"""Ten thousand hostile bodies: answers by status, none of them a fault of the server, and its memory before and after."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import typer

sys.path[:0] = [str(Path(__file__).parent / "servers"), str(Path(__file__).parent.parent.parent)]
from running import Server, hubserve_running

from tests.service.corpus import Body, mutants, odd_pictures, wrong_bodies
from tests.stores import small_package

WARM_UP = 0.2
"""Share of the bodies after which memory is first looked at: by then every decoder was loaded and every pool has its size."""


def main(bodies: int = 10_000, clients: int = 8, seed: int = 0) -> None:
    """Exit code 1 where a server's fault, a crash, a wrong verdict, or growth beyond 5 % was seen."""
    fixed = [*odd_pictures(), *wrong_bodies()]
    everything = list(itertools.islice(itertools.chain(fixed, mutants(seed), fixed), bodies))
    with tempfile.TemporaryDirectory() as folder, hubserve_running(small_package().path, Path(folder)) as server:
        early = int(bodies * WARM_UP)
        seen, wrong = send(server, everything[:early], clients)
        before = server.resident_mb()
        later, more = send(server, everything[early:], clients)
        after = server.resident_mb()
        alive = server.process.poll() is None and httpx2.get(f"{server.url}/readyz").status_code == 200
    seen += later
    growth = after / before - 1
    print(f"{sum(seen.values())} bodies, answers by status: {dict(sorted(seen.items()))}")
    print(f"5xx: {sum(count for status, count in seen.items() if status >= 500)}, wrong verdicts: {wrong + more or 'none'}")
    print(f"memory: {before:.0f} MB after {early} bodies, {after:.0f} MB at the end: {growth:+.1%}; alive: {alive}")
    if not alive or wrong + more or growth > 0.05 or any(status >= 500 for status in seen):
        raise typer.Exit(1)


def send(server: Server, bodies: list[Body], clients: int) -> tuple[Counter[int], list[str]]:
    """Answers by status, and the names of bodies whose verdict was not the right one."""
    with httpx2.Client(base_url=server.url, timeout=60, limits=httpx2.Limits(max_connections=clients)) as client:

        def one(body: Body) -> int:
            return client.post("/classify", content=body.data, headers={"Content-Type": body.kind}).status_code

        with ThreadPoolExecutor(clients) as pool:
            statuses = list(pool.map(one, bodies))
    wrong = [
        f"{body.name}: {status}"
        for body, status in zip(bodies, statuses, strict=True)
        if body.right is not None and (status == 200) is not body.right
    ]
    return Counter(statuses), wrong


if __name__ == "__main__":
    typer.run(main)
