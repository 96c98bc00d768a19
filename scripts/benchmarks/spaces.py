"""How long sampling an arch and building its network take, against NNI 3.0, or against an earlier checkout."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from hubserve.hub import SPACES

ROOT = Path(__file__).resolve().parents[2]

NNI_MS = {
    "NasBench101": (0.7, 93.8),
    "NasBench201": (0.1, 39.8),
    "NASNet": (4.7, 470.7),
    "ENAS": (2.5, 178.3),
    "AmoebaNet": (8.3, 396.1),
    "PNAS": (2.6, 335.9),
    "DARTS": (2.0, 169.0),
    "ProxylessNAS": (0.4, 89.4),
    "MobileNetV3Space": (1.2, 53.0),
    "ShuffleNetSpace": (0.6, 94.2),
    "AutoFormer": (0.5, 35.0),
}
"""Milliseconds to sample and validate an arch, and to build its network: NNI 3.0 on torch 2.13, one thread of two shared cores
of an AMD EPYC, medians, default settings. NNI does not run on the torch of this project: these are not measured in this run.
The spaces of sequences were never in NNI."""

Times = dict[str, list[float]]
"""Milliseconds to sample an arch, to build its network, and to build it on the meta device, by space."""


def main(
    archs: Annotated[int, typer.Option(help="Random archs of each space.")] = 15,
    before: Annotated[Path | None, typer.Option(help="Earlier checkout; prints CPU times as shares of its times.")] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each checkout, with --before.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print the CPU times only.")] = False,
) -> None:
    """Takes the median over random archs of each space, each done three times and the best taken, on one thread."""
    torch.set_num_threads(1)
    if as_json:
        print(json.dumps({name: times_of(name, archs, time.process_time) for name in SPACES}))
    elif before is not None:
        print_ratios(before, archs, rounds)
    else:
        print_against_nni(archs)


def times_of(name: str, archs: int, clock: Callable[[], float]) -> list[float]:
    """Returns the milliseconds by `clock` to sample an arch, to build its network, and to build it on the meta device."""
    space, rng = SPACES[name](), Random(0)
    drawn = [space.random(rng) for _ in range(archs)]
    sample = median_ms(lambda _: space.random(rng), drawn, clock)
    freeze = median_ms(space.freeze, drawn, clock)
    with torch.device("meta"):
        meta = median_ms(space.freeze, drawn, clock)
    return [sample, freeze, meta]


def median_ms(work: Callable[[dict[str, Any]], object], archs: list[dict[str, Any]], clock: Callable[[], float]) -> float:
    """The best of three: what else runs on the machine can only add to a time."""
    return statistics.median(min(milliseconds(work, arch, clock) for _ in range(3)) for arch in archs)


def milliseconds(work: Callable[[dict[str, Any]], object], arch: dict[str, Any], clock: Callable[[], float]) -> float:
    """Returns how long one call takes."""
    start = clock()
    work(arch)
    return (clock() - start) * 1e3


def print_against_nni(archs: int) -> None:
    """Prints wall times beside NNI's."""
    title = f"ms, median of {archs} random archs, best of 3 each, 1 thread; NNI's: another run, on a machine like this"
    table = Table("space", "sample", "NNI", "ratio", "freeze", "NNI", "ratio", "freeze on meta", title=title)
    for name in SPACES:
        sample, freeze, meta = times_of(name, archs, time.perf_counter)
        theirs = [*beside(NNI_MS.get(name, (None, None))[0], sample), *beside(NNI_MS.get(name, (None, None))[1], freeze)]
        table.add_row(name, f"{sample:.3f}", *theirs[:2], f"{freeze:.1f}", *theirs[2:], f"{meta:.1f}")
    Console(width=110).print(table)


def beside(nni: float | None, ours: float) -> tuple[str, str]:
    """Returns NNI's milliseconds and the ratio to ours as text; empty where NNI has no such space."""
    return ("", "") if nni is None else (f"{nni:.1f}", f"{nni / ours:.1f}x")


def print_ratios(before: Path, archs: int, rounds: int) -> None:
    """Measures both checkouts in turns, and prints CPU times of this one as shares of those of the earlier one."""
    now, then = [], []
    for _ in range(rounds):
        now.append(measured(ROOT, archs))
        then.append(measured(before.resolve(), archs))
    title = f"CPU time as a share of {before}'s: lowest of {rounds} rounds each, {archs} random archs, 1 thread"
    table = Table("space", "sample", "freeze", "freeze on meta", title=title)
    for name in [name for name in now[0] if name in then[0]]:
        ours, theirs = (np.min([found[name] for found in side], axis=0) for side in (now, then))
        table.add_row(name, *[f"{share:.2f}" for share in ours / theirs])
    Console(width=110).print(table)


def measured(root: Path, archs: int) -> Times:
    """Returns the CPU times of a checkout, measured in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--json", "--archs", str(archs)]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(root)})
    found: Times = json.loads(ran.stdout)
    return found


if __name__ == "__main__":
    typer.run(main)
