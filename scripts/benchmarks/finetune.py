"""Test accuracy after some minutes on CIFAR-10's JPEGs: `hubserve finetune`, a plain loop over timm, and training from scratch.

Each finished cell (method and seed) is written to a file at once, and is not run again when the bench is.
"""

from __future__ import annotations

import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from hubserve.hub.key_formats import convert
from hubserve.hub.registry import load_model
from hubserve.training.moving_average import moving_average

MODEL = "efficientnet-lite0"
METHODS = ("hubserve finetune", "plain loop over timm", "from scratch")
RATE = 0.03
"""Learning rate of the plain loop after its warm-up."""


@dataclass(frozen=True)
class Cell:
    """One finished run.

    Attributes:
        method: One of `METHODS`.
        seed: Seed of the run.
        minutes: Minutes that it was given.
        size: Side of the images in pixels.
        top1: Share of the 10,000 test images that are right.
        cpu_seconds: CPU seconds of the whole run, test and export included.
        wall_seconds: Seconds of the whole run.
        threads: Number of threads of PyTorch.
    """

    method: str
    seed: int
    minutes: float
    size: int
    top1: float
    cpu_seconds: float
    wall_seconds: float
    threads: int = 2

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes the cell from others of the file."""
        return self.method, self.seed, self.minutes, self.size, self.threads


def main(
    archive: Annotated[Path, typer.Argument(help="cifar10-jpeg.tar.xz with train/CLASS/*.jpg and test/CLASS/*.jpg.")],
    minutes: Annotated[float, typer.Option(help="Minutes of each training.")] = 15.0,
    seeds: Annotated[int, typer.Option(help="Number of seeds, from 0.")] = 3,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 128,
    images: Annotated[int, typer.Option(help="Number of training images of each class, the first ones by name.")] = 500,
    method: Annotated[list[str] | None, typer.Option(help="Methods to run; all unless given.")] = None,
    threads: Annotated[int, typer.Option(help="Number of threads of PyTorch.")] = 2,
    out: Annotated[Path, typer.Option(help="File of finished cells.")] = Path("build/bench_finetune.jsonl"),
    cell: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Runs the missing cells, each in a process of its own, and prints all of this set-up."""
    data = prepared(archive, images, out.parent)
    if cell is not None:
        name, seed = cell.rsplit(":", 1)
        print(json.dumps(plain_loop(data, name, int(seed), minutes, size, threads)))
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for name in method or METHODS:
            key = (name, seed, minutes, size, threads)
            if not any(cell.key == key for cell in finished(out)):
                append(out, run_cell(data, *key, archive))
    show([cell for cell in finished(out) if cell.key[2:] == (minutes, size, threads)])


def finished(out: Path) -> list[Cell]:
    """The cells of the file."""
    return [Cell(**row) for row in rows(out)]


def rows(out: Path) -> list[dict[str, Any]]:
    """The finished cells of a file, as they are written in it; none if there is no file."""
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.is_file() else []


def append(out: Path, cell: Any) -> None:
    """Writes a finished cell, a dataclass, to the end of the file."""
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(cell)) + "\n")


def own_homes(folder: str, threads: int) -> dict[str, str]:
    """The environment of a cell: homes of its own in the folder, and a number of threads."""
    homes = {"HUBSERVE_HOME": f"{folder}/home", "BENTOML_HOME": f"{folder}/store", "OMP_NUM_THREADS": str(threads)}
    return os.environ | homes


class Usage:
    """The time that ended child processes have taken since this was made."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)

    def seconds(self) -> dict[str, float]:
        """The fields `cpu_seconds` and `wall_seconds` of a cell."""
        after, before = resource.getrusage(resource.RUSAGE_CHILDREN), self._before
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return {"cpu_seconds": cpu, "wall_seconds": time.monotonic() - self._began}


def prepared(archive: Path, images: int, folder: Path) -> Path:
    """The folder with train/ (the first images of each class) and test/, unpacked once."""
    data = folder.resolve() / f"cifar10-{images}"
    if not data.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as stage:
            with tarfile.open(archive) as file:
                file.extractall(stage, filter="data")
            for name in (Path(stage) / "train").iterdir():
                for path in sorted(name.iterdir())[images:]:
                    path.unlink()
            shutil.move(stage, data)
            Path(stage).mkdir()
    return data


def run_cell(data: Path, name: str, seed: int, minutes: float, size: int, threads: int, archive: Path) -> Cell:
    """Runs one cell in a process of its own and measures it."""
    usage = Usage()
    with tempfile.TemporaryDirectory() as folder:
        home = own_homes(folder, threads)
        if name == "hubserve finetune":
            budget = ("--minutes", str(minutes), "--size", str(size), "--seed", str(seed))
            command = [sys.executable, "-m", "hubserve", "finetune", MODEL, str(data), "--name", "cifar", *budget, "--json"]
            answer = json.loads(subprocess.run(command, env=home, check=True, stdout=subprocess.PIPE).stdout)
            top1 = answer["accuracy"]["top1"]
        else:
            options = (
                "--minutes",
                str(minutes),
                "--size",
                str(size),
                "--threads",
                str(threads),
                "--out",
                str(data.parent / "x"),
                "--cell",
                f"{name}:{seed}",
            )
            images = data.name.rpartition("-")[2]
            command = [sys.executable, __file__, str(archive), "--images", images, *options]
            top1 = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["top1"]
    return Cell(name, seed, minutes, size, top1, threads=threads, **usage.seconds())


def plain_loop(data: Path, name: str, seed: int, minutes: float, size: int, threads: int) -> dict[str, float]:
    """Test accuracy of timm's network, with the weights of ours or from scratch, after minutes of `trained_plainly`."""
    import timm

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    if name == "plain loop over timm":
        copy_weights(timm.create_model("tf_efficientnet_lite0"), model)
    return {"top1": trained_plainly(model, data, minutes, size)}


def trained_plainly(model: nn.Module, data: Path, minutes: float, size: int) -> float:
    """Trains as in a tutorial, and returns the test accuracy of the averaged weights.

    All layers are trained, by SGD with a cosine over the minutes, on images that are mirrored and shifted.
    """
    model = model.to(memory_format=torch.channels_last)
    pixels, target = read(data / "train")
    average = moving_average(model, 0.99)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=1e-4)
    began = time.monotonic()
    model.train()
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        for indices in torch.randperm(len(pixels)).split(64):
            share = min(1.0, (time.monotonic() - began) / (60 * minutes))
            optimizer.param_groups[0]["lr"] = RATE * min(1.0, (share + 1e-3) / 0.05) * 0.5 * (1 + math.cos(math.pi * share))
            loss = functional.cross_entropy(
                model(prepare(changed(pixels[indices]), size)), target[indices], label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            if share >= 1:
                break
    return accuracy(average.module, *read(data / "test"), size)


def copy_weights(whole: nn.Module, target: nn.Module) -> None:
    """Copies the weights of our model, except the head, into timm's; `whole` is timm's with 1000 classes."""
    ours = load_model(MODEL)
    # What is converted are the tensors of timm's model themselves, so that what is written into them lies in `whole`.
    for key, tensor in convert(whole.state_dict(), ours, "timm").items():
        tensor.copy_(ours.state_dict()[key])
    body = {key: tensor for key, tensor in whole.state_dict().items() if not key.startswith("classifier")}
    missing = target.load_state_dict(body, strict=False)
    if {key for key in missing.missing_keys if not key.startswith("classifier")} or missing.unexpected_keys:
        raise RuntimeError(f"the weights do not fit: {missing}")


def read(folder: Path) -> tuple[Tensor, Tensor]:
    """All images of a part, (n, 3, 32, 32) uint8, and their classes."""
    pixels, target = [], []
    for label, name in enumerate(sorted(path.name for path in folder.iterdir())):
        for path in sorted((folder / name).iterdir()):
            pixels.append(np.asarray(Image.open(path).convert("RGB")))
            target.append(label)
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2), torch.tensor(target)


def changed(pixels: Tensor) -> Tensor:
    """Each image shifted by up to four pixels, half of them mirrored."""
    padded = functional.pad(pixels.float(), [4] * 4, mode="reflect")
    rows, columns = (torch.randint(9, (len(pixels),)).tolist() for _ in range(2))
    views = [padded[i, :, y : y + 32, x : x + 32] for i, (y, x) in enumerate(zip(rows, columns, strict=True))]
    return torch.stack([view.flip(-1) if torch.rand(()) < 0.5 else view for view in views])


def prepare(pixels: Tensor, size: int) -> Tensor:
    """Resized and normalised as the model wants it."""
    resized = functional.interpolate(pixels.float(), (size, size), mode="bicubic", antialias=True).clamp(0, 255)
    return ((resized - 127) / 128).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(model: nn.Module, pixels: Tensor, target: Tensor, size: int) -> float:
    """Share of the images that are right."""
    model.eval()
    hits = 0
    for indices in torch.arange(len(pixels)).split(128):
        hits += int((model(prepare(pixels[indices], size)).argmax(1) == target[indices]).sum())
    return hits / len(pixels)


def show(cells: list[Cell]) -> None:
    """Prints each method's accuracy by seed, and its mean."""
    table = Table(title=f"{MODEL} on CIFAR-10's JPEGs: test accuracy on 10,000 images")
    for column in ("method", "minutes", "size", "by seed", "mean", "CPU seconds", "wall seconds"):
        table.add_column(column)
    for name in METHODS:
        mine = sorted((c for c in cells if c.method == name), key=lambda c: c.seed)
        if mine:
            by_seed = ", ".join(f"{c.seed}: {c.top1:.2%}" for c in mine)
            average = f"{mean(c.top1 for c in mine):.2%}"
            cpu, wall = (f"{mean(getattr(c, field) for c in mine):.0f}" for field in ("cpu_seconds", "wall_seconds"))
            table.add_row(name, f"{mine[0].minutes:g}", str(mine[0].size), by_seed, average, cpu, wall)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
