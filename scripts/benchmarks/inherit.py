"""Test accuracy of CIFAR-10 subnets with weights inherited from a supernet, against the same subnets trained alone.

A supernet is trained by the sandwich rule; each subnet is scored with its weights, batch norms measured anew, and is trained
alone from new weights for as many epochs, by the same recipe. Each finished cell (subnet and seed) is written to a file at once
and is not run again when the bench is; a training that was killed goes on after its last complete epoch.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, get_args

import torch
import typer
import yaml
from finetune import append, prepared, rows
from rich.console import Console
from rich.table import Table
from scipy.stats import kendalltau

from hubserve.complexity import complexity
from hubserve.data.labelled_data import LabelledData
from hubserve.evaluator import Classification, Trial, load_dataset
from hubserve.hub import MobileNetV3Space
from hubserve.space import Arch
from hubserve.strategy import RandomOneShot
from hubserve.strategy.oneshot import extract
from hubserve.supernet.extreme_archs import largest_arch, smallest_arch

JOB = Path(__file__).parent.parent.parent / "search_jobs" / "cifar10_cpu.yaml"
TAU_GOAL, SHARE_GOAL = 0.7, 0.6
VAL_SHARE = 0.2
"""Share of the images of the archive's training part that is set aside: no cell uses them."""

Kind = Literal["inherited", "alone"]
"""Where the weights of a subnet come from: from the supernet, or from its own training."""


@dataclass(frozen=True)
class Cell:
    """The test accuracy of one subnet.

    Attributes:
        kind: "inherited" with the weights of the supernet, "alone" trained from new weights.
        setup: Digest of the options on which accuracies depend.
        seed: Seed of the training.
        subnet: Number of the subnet, from 0, the smallest.
        arch: Its arch.
        macs: Its multiply-accumulates for one image.
        top1: Share of the test images that are right.
        seconds: Seconds of the cell; those of the supernet are in its first cell.
    """

    kind: Kind
    setup: str
    seed: int
    subnet: int
    arch: Arch
    macs: float
    top1: float
    seconds: float


@dataclass(frozen=True)
class Setup:
    """The options on which accuracies depend.

    Attributes:
        images: Number of training images of each class.
        subnets: Number of subnets.
        epochs: Number of epochs of the supernet, and of each subnet alone.
        sandwich: Number of random archs in each step of the supernet.
        batch_size: Number of images in a step.
    """

    images: int
    subnets: int
    epochs: int
    sandwich: int
    batch_size: int

    def digest(self, kind: Kind) -> str:
        """Distinguishes cells of other options, recipes or spaces in a file; only inherited ones depend on the supernet's."""
        shared = self.images, self.subnets, self.epochs, self.batch_size, space(), VAL_SHARE, json.dumps(self.recipe(0))
        told = repr((*shared, RandomOneShot(sandwich=self.sandwich)) if kind == "inherited" else shared)
        return hashlib.sha256(told.encode()).hexdigest()[:12]

    def recipe(self, warm_up: float = 0.05) -> dict[str, Any]:
        """Settings of the evaluator, the same for supernet and subnets."""
        return {
            "optimizer": "sgd",
            "learning_rate": 0.1,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "warm_up": warm_up,
            "gradient_clip_val": 5.0,
            "batch_size": self.batch_size,
            "max_epochs": self.epochs,
            "accelerator": "cpu",
        }

    def evaluator(self, data: LabelledData, **settings: Any) -> Classification:
        """Trains on the training images, and scores on the test images; `settings` are further ones."""
        parts = {"train_dataloaders": data.train, "val_dataloaders": data.test}
        return Classification(**parts, num_classes=len(data.labels), **self.recipe(), **settings)


def main(
    archive: Annotated[Path, typer.Argument(help="cifar10-jpeg.tar.xz with train/CLASS/*.jpg and test/CLASS/*.jpg.")],
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 1,
    subnets: Annotated[int, typer.Option(help="Number of subnets.")] = 24,
    epochs: Annotated[int, typer.Option(help="Epochs of the supernet, and of each subnet alone.")] = 20,
    sandwich: Annotated[int, typer.Option(help="Random archs in each step of the supernet.")] = 4,
    images: Annotated[int, typer.Option(help="Training images of each class.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Images in a training step.")] = 64,
    kind: Annotated[Kind | None, typer.Option(help="Cells to run; both kinds unless given.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 2,
    out: Annotated[Path, typer.Option(help="File of finished cells.")] = Path("build/bench_inherit.jsonl"),
) -> None:
    """Runs the missing cells, and prints accuracies, Kendall's tau and the share of subnets that lose nothing."""
    torch.set_num_threads(threads)
    setup = Setup(images, subnets, epochs, sandwich, batch_size)
    folder = prepared(archive, round(images / (1 - VAL_SHARE)), out.parent)
    data = load_dataset("cifar10", folder, seed=0, val_share=VAL_SHARE)
    Console().print(f"{len(data.train)} training images, {len(data.test)} test images, {space().count():.3g} archs")  # type: ignore[arg-type]
    archs, kinds = by_size(subnets), get_args(Kind) if kind is None else (kind,)
    for seed in range(seeds):
        if "inherited" in kinds:
            inherited(setup, data, archs, seed, out)
        for number, (macs, arch) in enumerate(archs if "alone" in kinds else ()):
            if not known(out, setup, "alone", seed, number):
                began = time.monotonic()
                top1 = alone(setup, data, arch, seed, number, out)
                append(out, Cell("alone", setup.digest("alone"), seed, number, arch, macs, top1, time.monotonic() - began))
    Console(width=120).print(report(cells(out, setup)))


@cache
def job() -> dict[str, Any]:
    """The definition in search_jobs/cifar10_cpu.yaml."""
    found: dict[str, Any] = yaml.safe_load(JOB.read_text("utf-8"))
    return found


@cache
def space() -> MobileNetV3Space:
    """The space of search_jobs/cifar10_cpu.yaml."""
    settings = job()["space"]["settings"]
    return MobileNetV3Space(num_labels=10, **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})


def new_network(arch: Arch, seed: int) -> torch.nn.Module:
    """A network of the space with weights that `seed` decides."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return space().freeze(arch)


def cells(out: Path, setup: Setup) -> list[Cell]:
    """The finished cells of these options."""
    return [cell for cell in (Cell(**row) for row in rows(out)) if cell.setup == setup.digest(cell.kind)]


def known(out: Path, setup: Setup, kind: Kind, seed: int, subnet: int) -> bool:
    """Whether a cell is finished."""
    return any((c.kind, c.seed, c.subnet) == (kind, seed, subnet) for c in cells(out, setup))


def unfinished(out: Path, setup: Setup, kind: Kind, name: str) -> Path:
    """The folder of a training that is not finished."""
    return out.parent / f"{out.stem}-unfinished" / f"{setup.digest(kind)}-{kind}-{name}"


def by_size(count: int, seed: int = 0, pool: int = 300) -> list[tuple[float, Arch]]:
    """(MACs, arch) of `count` archs whose MACs lie evenly, on a logarithmic scale, between smallest and largest network.

    Uniformly drawn archs are nearly all of a middle size. So each candidate is drawn with a lean of its own to the small or
    the large numbers, and for each size the nearest of `pool` candidates is taken.
    """
    rng, searched = Random(seed), space()
    drawn = [smallest_arch(searched), largest_arch(searched)]
    for _ in range(pool):
        lean = rng.random()
        drawn.append(searched.arch_from(lambda choice, lean=lean: leaning(sorted(choice.candidates), lean, rng)))
    sized = sorted(((macs(arch), arch) for arch in drawn), key=lambda pair: pair[0])
    low, high = math.log(sized[0][0]), math.log(sized[-1][0])
    chosen = []
    for i in range(count):
        target = low + (high - low) * i / max(1, count - 1)
        nearest = min(sized, key=lambda pair: abs(math.log(pair[0]) - target))
        sized.remove(nearest)
        chosen.append(nearest)
    return sorted(chosen, key=lambda pair: pair[0])


def leaning(candidates: list[Any], lean: float, rng: Random) -> Any:
    """One of the candidates: the higher `lean`, in [0, 1], the later."""
    return candidates[sum(rng.random() < lean for _ in candidates[1:])]


def macs(arch: Arch) -> float:
    """Multiply-accumulates of a network for one image."""
    with torch.device("meta"):
        return float(complexity(space().freeze(arch), (3, 32, 32)).macs)


def inherited(setup: Setup, data: LabelledData, archs: list[tuple[float, Arch]], seed: int, out: Path) -> None:
    """Trains the supernet of a seed, unless all of its cells are finished, and writes them."""
    missing = [i for i in range(len(archs)) if not known(out, setup, "inherited", seed, i)]
    if not missing:
        return
    began, evaluator = time.monotonic(), setup.evaluator(data)
    folder = unfinished(out, setup, "inherited", str(seed))
    supernet = RandomOneShot(sandwich=setup.sandwich).run(space(), evaluator, seed=seed, folder=folder, device="cpu").supernet
    if supernet is None:
        raise TypeError("RandomOneShot ended without a supernet")
    for number in missing:
        arch_macs, arch = archs[number]
        top1 = extract(supernet, arch, evaluator, seed=seed).after["val_acc"]
        append(out, Cell("inherited", setup.digest("inherited"), seed, number, arch, arch_macs, top1, time.monotonic() - began))
        began = time.monotonic()
    shutil.rmtree(folder)


def alone(setup: Setup, data: LabelledData, arch: Arch, seed: int, number: int, out: Path) -> float:
    """Test accuracy of a subnet that is trained from new weights."""
    folder = unfinished(out, setup, "alone", f"{seed}-{number}")
    network = new_network(arch, seed)
    # An evaluator scores after each epoch, for which one batch will do: it costs as much as a fourth of the training otherwise.
    evaluator = setup.evaluator(data, limit_val_batches=1)
    trial = Trial(seed=seed, checkpoint=folder / "training.pt")
    evaluator.fit(network, trial, channels_last=space().channels_last)
    top1 = setup.evaluator(data).validate(network)["val_acc"]
    shutil.rmtree(folder)
    return top1


def report(found: list[Cell]) -> Table:
    """A line for each subnet, and one for each seed with tau and share."""
    table = Table("seed", "subnet", "MMACs", "inherited", "alone", "difference", title="test accuracy of subnets of CIFAR-10")
    for seed in sorted({cell.seed for cell in found}):
        scores = {kind: {c.subnet: c for c in found if (c.kind, c.seed) == (kind, seed)} for kind in ("inherited", "alone")}
        both = sorted(scores["inherited"].keys() & scores["alone"].keys())
        pairs = [(scores["inherited"][i].top1, scores["alone"][i].top1) for i in both]
        for i, (ours, theirs) in zip(both, pairs, strict=True):
            size = scores["alone"][i].macs / 1e6
            table.add_row(str(seed), str(i), f"{size:.2f}", f"{ours:.2%}", f"{theirs:.2%}", f"{100 * (ours - theirs):+.2f}")
        if len(pairs) > 1:
            tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
            share = sum(ours >= theirs for ours, theirs in pairs) / len(pairs)
            met = f"goals: tau {TAU_GOAL} {_met(tau >= TAU_GOAL)}, share {SHARE_GOAL:.0%} {_met(share >= SHARE_GOAL)}"
            table.add_row(str(seed), "all", "", f"tau {tau:.2f}", f"inherited >= alone: {share:.0%}", met, end_section=True)
    return table


def _met(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


if __name__ == "__main__":
    typer.run(main)
