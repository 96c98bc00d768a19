"""Test accuracy of `hubserve shrink` at half the latency on CIFAR-10's JPEGs: also of the whole network, and from scratch.

Each finished cell (method and seed) is written to a file at once, and is not run again when the bench is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import torch
import typer
from finetune import MODEL, Usage, append, own_homes, prepared, rows, trained_plainly
from rich.console import Console
from rich.table import Table

from hubserve.hub.registry import get_space

WHOLE, SHRINK, SCRATCH = METHODS = ("whole network, fine-tuned", "hubserve shrink", "small arch from scratch")


@dataclass(frozen=True)
class ShrinkCell:
    """One finished run.

    Attributes:
        method: One of `METHODS`.
        seed: Seed of the run.
        minutes: Minutes that it was given.
        size: Side of the images in pixels.
        share: Limit on the latency, as a share of that of the whole network.
        images: Number of training images of each class.
        top1: Share of the test images that are right.
        latency_ms: Measured latency of the network.
        full_latency_ms: Latency of the whole network, measured in turns with it; None for the whole network itself.
        arch: The arch of the network.
        settings: Settings of its space.
        space: Its space.
        cpu_seconds: CPU seconds of the whole run, test and export included.
        wall_seconds: Seconds of the whole run.
        threads: Number of threads of PyTorch.
    """

    method: str
    seed: int
    minutes: float
    size: int
    share: float
    images: int
    top1: float
    latency_ms: float
    full_latency_ms: float | None
    arch: dict[str, Any]
    settings: dict[str, Any]
    space: str
    cpu_seconds: float
    wall_seconds: float
    threads: int = 2

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes the cell from others of the file."""
        return self.method, self.seed, self.minutes, self.size, self.share, self.images, self.threads


def main(
    archive: Annotated[Path, typer.Argument(help="cifar10-jpeg.tar.xz with train/CLASS/*.jpg and test/CLASS/*.jpg.")],
    minutes: Annotated[float, typer.Option(help="Minutes of each run.")] = 15.0,
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 1,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 128,
    share: Annotated[float, typer.Option(help="Limit on the latency, as a share of that of the whole network.")] = 0.5,
    images: Annotated[int, typer.Option(help="Number of training images of each class, the first ones by name.")] = 500,
    method: Annotated[list[str] | None, typer.Option(help="Methods to run; all unless given.")] = None,
    threads: Annotated[int, typer.Option(help="Number of threads of PyTorch.")] = 2,
    out: Annotated[Path, typer.Option(help="File of finished cells.")] = Path("build/bench_shrink.jsonl"),
    scratch: Annotated[int | None, typer.Option(hidden=True, help="Print the accuracy from scratch with this seed.")] = None,
) -> None:
    """Runs the missing cells, and prints all of this set-up. Training from scratch needs the cell of the same shrink."""
    data = prepared(archive, images, out.parent)
    if scratch is not None:
        small = cell_of_shrink(out, scratch, minutes, size, share, images, threads)
        print(json.dumps({"top1": from_scratch(small, data)}))
        return
    for seed in range(seeds):
        for name in method or METHODS:
            key = (name, seed, minutes, size, share, images, threads)
            if not any(cell.key == key for cell in finished(out)):
                if name == SCRATCH:
                    append(out, run_scratch(archive, cell_of_shrink(out, *key[1:]), out))
                else:
                    append(out, run_cell(data, *key))
    show([c for c in finished(out) if c.key[2:] == (minutes, size, share, images, threads)])


def finished(out: Path) -> list[ShrinkCell]:
    """The cells of the file."""
    return [ShrinkCell(**row) for row in rows(out)]


def cell_of_shrink(out: Path, *key: object) -> ShrinkCell:
    """The cell of `hubserve shrink` with this seed, minutes, size, share, images and threads."""
    found = next((cell for cell in finished(out) if cell.key == (SHRINK, *key)), None)
    if found is None:
        raise typer.BadParameter(f"training from scratch needs the arch of the cell {SHRINK!r}: run that first")
    return found


def run_scratch(archive: Path, small: ShrinkCell, out: Path) -> ShrinkCell:
    """Trains the arch of a cell from scratch, in a process of its own, and measures that."""
    options = ("minutes", "size", "share", "images", "threads")
    told = [part for name in options for part in (f"--{name}", str(getattr(small, name)))]
    command = [sys.executable, __file__, str(archive), *told, "--out", str(out), "--scratch", str(small.seed)]
    usage = Usage()
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds = usage.seconds()
    return replace(small, method=SCRATCH, top1=json.loads(run.stdout)["top1"], **seconds)


def from_scratch(small: ShrinkCell, data: Path) -> float:
    """Test accuracy of the arch of a cell after as many minutes of the plain training of `bench finetune`."""
    torch.set_num_threads(small.threads)
    torch.manual_seed(small.seed)
    network = get_space(small.space, {**small.settings, "num_labels": 10}).freeze(small.arch)
    return trained_plainly(network, data, small.minutes, small.size)


def run_cell(
    data: Path,
    name: str,
    seed: int,
    minutes: float,
    size: int,
    share: float,
    images: int,
    threads: int,
) -> ShrinkCell:
    """Runs one cell in a process of its own and measures it."""
    budget = ["--minutes", str(minutes), "--size", str(size), "--seed", str(seed), "--json"]
    with tempfile.TemporaryDirectory() as folder:
        environment = own_homes(folder, threads)
        if name == SHRINK:
            command = ["shrink", MODEL, str(data), "--name", "small", "--latency-share", str(share), *budget]
        else:
            command = ["finetune", MODEL, str(data), "--name", "small", *budget]
        usage = Usage()
        run = subprocess.run(
            [sys.executable, "-m", "hubserve", *command], env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        seconds = usage.seconds()
        answer = json.loads(run.stdout)
        package = published(answer["published"], environment)
        best = (answer["best"] or {}).get("values", {})
        return ShrinkCell(
            method=name,
            seed=seed,
            minutes=minutes,
            size=size,
            share=share,
            images=images,
            top1=answer["accuracy"]["top1"],
            latency_ms=best.get("latency_ms", package["latency_ms"]),
            full_latency_ms=best.get("full_latency_ms"),
            arch=package["arch"],
            settings=package["settings"],
            space=package["space"],
            threads=threads,
            **seconds,
        )


def published(tag: str, environment: dict[str, str]) -> dict[str, Any]:
    """Space, settings, arch and profiled latency of a published package, which a process with its home reads."""
    program = (
        "import json, sys\n"
        "from hubserve import store\n"
        "package = store.resolve(sys.argv[1]).package\n"
        "manifest = package.manifest\n"
        "profile = json.loads((package.path / 'profile.json').read_text('utf-8'))\n"
        "latency = next(row for row in profile['formats'] if row['format'] == 'onnx')\n"
        "median = next(p['value'] for p in latency['percentiles'] if p['percent'] == 50)\n"
        "print(json.dumps({'space': manifest.space, 'settings': dict(manifest.settings), 'arch': dict(manifest.arch), "
        "'latency_ms': median}))\n"
    )
    run = subprocess.run([sys.executable, "-c", program, tag], env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def show(cells: list[ShrinkCell]) -> None:
    """Prints each method's accuracy by seed, its mean, and the measured latency."""
    table = Table(title=f"{MODEL} on CIFAR-10's JPEGs: test accuracy on 10,000 images")
    for column in (
        "method",
        "minutes",
        "size",
        "top-1 by seed",
        "mean",
        "latency ms",
        "of the whole",
        "CPU seconds",
        "wall seconds",
    ):
        table.add_column(column)
    for name in METHODS:
        mine = sorted((c for c in cells if c.method == name), key=lambda c: c.seed)
        if mine:
            by_seed = ", ".join(f"{c.seed}: {c.top1:.2%}" for c in mine)
            shares = [c.latency_ms / c.full_latency_ms for c in mine if c.full_latency_ms]
            cpu, wall = (f"{mean(getattr(c, field) for c in mine):.0f}" for field in ("cpu_seconds", "wall_seconds"))
            table.add_row(
                name,
                f"{mine[0].minutes:g}",
                str(mine[0].size),
                by_seed,
                f"{mean(c.top1 for c in mine):.2%}",
                f"{mean(c.latency_ms for c in mine):.2f}",
                f"{mean(shares):.0%}" if shares else "",
                cpu,
                wall,
            )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
