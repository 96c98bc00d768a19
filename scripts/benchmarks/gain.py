"""What a search gains: its network against the best of five scaled by hand and random search, at equal CPU minutes (CIFAR-10).

Each finished cell (method and seed) is written to a file at once, and is not run again when the bench is. The search of a seed
comes first: the other methods get the CPU seconds that it took, and the limit on the latency that it had to keep.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import mean, stdev
from typing import Annotated, Any

import torch
import typer
import yaml
from finetune import Usage, append, own_homes, prepared, rows
from inherit import job, macs, new_network, space
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student
from torch.utils.data import Subset

from hubserve.data.labelled_data import LabelledData
from hubserve.evaluator import Classification, Trial, load_dataset
from hubserve.latency.arch_latency import NAME, MeasuredLatency
from hubserve.space import Arch, Choice

SEARCH, BY_HAND, RANDOM = METHODS = ("hubserve search", "five scaled by hand", "random search")
PROBE = 0.1
"""Share of the images of an epoch on which the CPU seconds of an epoch are measured before a network is trained."""

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "wide": {"width_mult": 1.0, "exp": 6.0, "ks": 3},
    "deep": {"width_mult": 0.75, "depth": 3, "ks": 3},
    "even": {"ks": 3},
    "large kernels": {"width_mult": 1.0, "depth": 2, "ks": 5},
    "MobileNetV3-small": {"width_mult": 1.0, "depth": 2, "se": "se", "kernels of stages": (3, 3, 3, 5, 5)},
}
"""Five networks as one would scale them by hand: what is fixed in each. The largest one within the limit is taken, whose other
choices are all at the same place of their lists."""


@dataclass(frozen=True)
class Cell:
    """The network of one method.

    Attributes:
        method: One of `METHODS`.
        seed: Seed of the method.
        images: Number of training images of each class, validation images included.
        limit_ms: Limit on the latency of one image in ONNX Runtime, with one thread.
        top1: Share of the 10,000 test images that are right.
        val_acc: Share of the validation images that are right, by which the network was chosen.
        latency_ms: Measured latency.
        arch: The arch.
        networks: Number of networks that were compared.
        cpu_seconds: CPU seconds of everything: latencies, training, validation and, for the search, export and profile.
        wall_seconds: Seconds of the same.
    """

    method: str
    seed: int
    images: int
    limit_ms: float
    top1: float
    val_acc: float
    latency_ms: float
    arch: Arch
    networks: int
    cpu_seconds: float
    wall_seconds: float

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes the cell from others of the file."""
        return self.method, self.seed, self.images


def main(
    archive: Annotated[Path, typer.Argument(help="cifar10-jpeg.tar.xz with train/CLASS/*.jpg and test/CLASS/*.jpg.")],
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 3,
    images: Annotated[int, typer.Option(help="Training images of each class, those for validation included.")] = 5000,
    method: Annotated[list[str] | None, typer.Option(help="Methods to run; all unless given.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 2,
    out: Annotated[Path, typer.Option(help="File of finished cells.")] = Path("build/bench_gain.jsonl"),
) -> None:
    """Runs the missing cells, and prints test accuracies and their differences, paired by seed."""
    torch.set_num_threads(threads)
    data = prepared(archive, images, out.parent)
    for seed in range(seeds):
        for name in method or METHODS:
            if not any(cell.key == (name, seed, images) for cell in finished(out)):
                append(out, run_cell(name, seed, images, data, threads, out))
    show([cell for cell in finished(out) if cell.images == images])


def finished(out: Path) -> list[Cell]:
    """The cells of the file."""
    return [Cell(**row) for row in rows(out)]


def run_cell(name: str, seed: int, images: int, data: Path, threads: int, out: Path) -> Cell:
    """Runs one cell; methods other than the search need the search of the same seed."""
    if name == SEARCH:
        return searched(seed, images, data, threads)
    search = next((cell for cell in finished(out) if cell.key == (SEARCH, seed, images)), None)
    if search is None:
        raise typer.BadParameter(f"{name!r} gets the CPU seconds of the search of seed {seed}: run {SEARCH!r} first")
    trainer = Trainer(load_dataset("cifar10", data, seed=seed, **job()["data"]["settings"]), seed, search)
    return (by_hand if name == BY_HAND else at_random)(trainer)


def searched(seed: int, images: int, data: Path, threads: int) -> Cell:
    """Runs the job with another seed, in a process with a home of its own."""
    definition = job() | {"seed": seed}
    definition["data"] = definition["data"] | {"folder": str(data)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "gain.yaml")
        file.write_text(yaml.safe_dump(definition), "utf-8")
        usage = Usage()
        command = [sys.executable, "-m", "hubserve", "search", str(file), "--json"]
        run = subprocess.run(command, env=own_homes(folder, threads), check=True, stdout=subprocess.PIPE, text=True)
        seconds = usage.seconds()
    answer = json.loads(run.stdout)
    best = answer["best"]
    return Cell(
        method=SEARCH,
        seed=seed,
        images=images,
        limit_ms=definition["constraints"][NAME],
        top1=answer["test_acc"],
        val_acc=best["values"]["val_acc"],
        latency_ms=best["values"][NAME],
        arch=best["arch"],
        networks=answer["trials"],
        **seconds,
    )


class Trainer:
    """Trains networks with the recipes of the job until the CPU seconds of the search are used up.

    Args:
        data: Images.
        seed: Seed of the cell.
        search: The cell of the search.

    Attributes:
        seed: Seed of the cell.
        search: The cell of the search.
        networks: Number of networks that were trained so far.
    """

    def __init__(self, data: LabelledData, seed: int, search: Cell) -> None:
        self.seed, self.search, self.networks = seed, search, 0
        self._data = data
        self._latency = MeasuredLatency(input_size=32, clock=time.thread_time)
        self._began = (time.process_time(), time.monotonic())

    @property
    def left(self) -> float:
        """CPU seconds that are left."""
        return self.search.cpu_seconds - (time.process_time() - self._began[0])

    def latency_ms(self, arch: Arch) -> float:
        """The measured latency of an arch."""
        return self._latency(space(), arch)[NAME]

    def evaluator(self, recipe: Mapping[str, Any], epochs: int, *, share: float = 1.0) -> Classification:
        """Trains by a recipe of the job for some epochs, and scores on the validation images; `share` takes a part of both."""
        settings = {key: value for key, value in recipe.items() if key not in ("epochs", "start", "gradient_clip")}
        train, val = (Subset(part, range(max(2, round(share * len(part))))) for part in (self._data.train, self._data.val))  # type: ignore[arg-type]
        return Classification(
            train_dataloaders=train,
            val_dataloaders=val,
            num_classes=len(self._data.labels),
            gradient_clip_val=recipe["gradient_clip"],
            schedule="cosine",
            max_epochs=epochs,
            accelerator="cpu",
            **settings,
        )

    def train(self, arch: Arch, recipe: Mapping[str, Any], epochs: int) -> tuple[float, torch.nn.Module]:
        """Trains a new network of `arch`; returns its accuracy on the validation images, and the network."""
        self.networks += 1
        return self.train_on(new_network(arch, self.seed), recipe, epochs)

    def train_on(self, network: torch.nn.Module, recipe: Mapping[str, Any], epochs: int) -> tuple[float, torch.nn.Module]:
        """Trains a network further; returns its accuracy on the validation images, and the network."""
        scores = self.evaluator(recipe, epochs).fit(network, Trial(seed=self.seed), channels_last=space().channels_last)
        return scores["val_acc"], network

    def epoch_seconds(self, arch: Arch, recipe: Mapping[str, Any]) -> float:
        """CPU seconds of an epoch and its validation, measured on a part of the images."""
        before = time.process_time()
        self.evaluator(recipe, 1, share=PROBE).evaluate(space(), arch, Trial(seed=self.seed))
        return (time.process_time() - before) / PROBE

    def cell(self, method: str, arch: Arch, val_acc: float, network: torch.nn.Module) -> Cell:
        """The cell of the network that was chosen, which is tested now, outside of the budget."""
        cpu, wall = time.process_time() - self._began[0], time.monotonic() - self._began[1]
        test = Classification(val_dataloaders=self._data.test, num_classes=len(self._data.labels), accelerator="cpu")
        return Cell(
            method=method,
            seed=self.seed,
            images=self.search.images,
            limit_ms=self.search.limit_ms,
            top1=test.validate(network)["val_acc"],
            val_acc=val_acc,
            latency_ms=self.latency_ms(arch),
            arch=arch,
            networks=self.networks,
            cpu_seconds=cpu,
            wall_seconds=wall,
        )


def by_hand(trainer: Trainer) -> Cell:
    """Trains five networks, each for a fifth of the budget, and keeps the best one by its validation accuracy."""
    definition = job()
    # The recipe of the winner, but for new weights: with the learning rate and the warm-up of the search.
    recipe = definition["retrain"] | {key: definition["recipe"][key] for key in ("learning_rate", "warm_up")}
    archs = [largest_within(fixed, trainer) for fixed in FAMILIES.values()]
    share = trainer.left / len(archs)
    trained = []
    for arch in archs:
        before = trainer.left
        seconds = trainer.epoch_seconds(arch, recipe)
        epochs = max(1, math.floor((share - (before - trainer.left)) / seconds))
        trained.append((arch, *trainer.train(arch, recipe, epochs)))
    return trainer.cell(BY_HAND, *max(trained, key=lambda found: found[1]))


def at_random(trainer: Trainer) -> Cell:
    """Trains random archs within the limit by the recipe of the job's trials, then the best one further, as the job does."""
    definition, rng = job(), Random(trainer.seed)
    recipe, retrain = definition["recipe"], definition["retrain"]
    best: tuple[float, Arch, torch.nn.Module] | None = None
    slowest = 0.0
    while best is None or trainer.left > slowest * (1 + retrain["epochs"] / recipe["epochs"]):
        arch = space().random(rng)
        if trainer.latency_ms(arch) > trainer.search.limit_ms:
            continue
        before = trainer.left
        val_acc, network = trainer.train(arch, recipe, recipe["epochs"])
        slowest = max(slowest, before - trainer.left)
        if best is None or val_acc > best[0]:
            best = val_acc, arch, network
    _, arch, network = best
    val_acc, network = trainer.train_on(network, retrain, retrain["epochs"])
    return trainer.cell(RANDOM, arch, val_acc, network)


def largest_within(fixed: Mapping[str, Any], trainer: Trainer) -> Arch:
    """The largest network of a family that meets the limit: all choices that are not fixed grow together."""
    steps = [grown(fixed, step / 12) for step in range(13)]
    archs = sorted({json.dumps(arch): arch for arch in steps}.values(), key=macs, reverse=True)
    return next((arch for arch in archs if trainer.latency_ms(arch) <= trainer.search.limit_ms), archs[-1])


def grown(fixed: Mapping[str, Any], share: float) -> Arch:
    """The arch whose choices that are not fixed take the candidate at `share`, in [0, 1], of their lists."""

    def answer(choice: Choice) -> Any:
        place, _, kind = choice.label.removesuffix("_mult").rpartition("_")
        kind = "width_mult" if kind == "width" else kind
        if kind == "ks" and "kernels of stages" in fixed:
            stages = fixed["kernels of stages"]
            return stages[0] if place == "stem" else stages[int(place[1 : place.index("_")])]
        if kind == "se":
            return fixed.get("se", "identity")
        return fixed[kind] if kind in fixed else choice.answer_at(round(share * (choice.size - 1)))

    return space().arch_from(answer)


def show(cells: list[Cell]) -> None:
    """Prints each cell, and the differences of the search from the other methods, paired by seed."""
    table = Table(
        "method", "seed", "top-1", "latency ms", "networks", "CPU min", "wall min", title="CIFAR-10, 10,000 test images"
    )
    for cell in sorted(cells, key=lambda c: (METHODS.index(c.method), c.seed)):
        minutes = f"{cell.cpu_seconds / 60:.1f}", f"{cell.wall_seconds / 60:.1f}"
        table.add_row(cell.method, str(cell.seed), f"{cell.top1:.2%}", f"{cell.latency_ms:.3f}", str(cell.networks), *minutes)
    console = Console(width=120)
    console.print(table)
    for other in METHODS[1:]:
        console.print(difference(cells, other))


def difference(cells: list[Cell], other: str) -> str:
    """The mean difference of the search from another method in points, with its 95 % interval by Student's t."""
    ours, theirs = ({c.seed: 100 * c.top1 for c in cells if c.method == name} for name in (SEARCH, other))
    found = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
    if not found:
        return f"{other}: no seed is finished"
    told = f"{SEARCH} minus {other}: {mean(found):+.2f} points"
    if len(found) < 2:
        return f"{told}, one seed"
    half = student.ppf(0.975, len(found) - 1) * stdev(found) / len(found) ** 0.5
    return f"{told}, 95 % interval {mean(found) - half:+.2f} to {mean(found) + half:+.2f}, {len(found)} seeds"


if __name__ == "__main__":
    typer.run(main)
