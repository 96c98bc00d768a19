"""How long sampling an arch and building its network take, against NNI 3.0."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from random import Random
from typing import Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from hubserve.hub import SPACES

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
of an AMD EPYC, medians, default settings. NNI does not run on the torch of this project: these are not measured in this run."""


def main(archs: int = 15) -> None:
    """Takes the median over `archs` random archs of each space, each done three times and the best taken, on one thread."""
    torch.set_num_threads(1)
    title = f"ms, median of {archs} random archs, best of 3 each, 1 thread; NNI's: another run, on a machine like this"
    columns = ("space", "sample", "NNI", "ratio", "freeze", "NNI", "ratio", "freeze on meta")
    table = Table(*columns, title=title)
    for name in SPACES:
        table.add_row(name, *_row(name, archs))
    Console(width=110).print(table)


def _row(name: str, archs: int) -> list[str]:
    space, rng = SPACES[name](), Random(0)
    drawn = [space.random(rng) for _ in range(archs)]
    sample = _median_ms(lambda _: space.random(rng), drawn)
    freeze = _median_ms(space.freeze, drawn)
    with torch.device("meta"):
        meta = _median_ms(space.freeze, drawn)
    nni_sample, nni_freeze = NNI_MS[name]
    return [
        f"{sample:.3f}",
        f"{nni_sample:.1f}",
        f"{nni_sample / sample:.1f}x",
        f"{freeze:.1f}",
        f"{nni_freeze:.1f}",
        f"{nni_freeze / freeze:.1f}x",
        f"{meta:.1f}",
    ]


def _median_ms(work: Callable[[dict[str, Any]], object], archs: list[dict[str, Any]]) -> float:
    """The best of three: what else runs on the machine can only add to a time."""
    return statistics.median(min(_ms(work, arch) for _ in range(3)) for arch in archs)


def _ms(work: Callable[[dict[str, Any]], object], arch: dict[str, Any]) -> float:
    start = time.perf_counter()
    work(arch)
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    typer.run(main)
