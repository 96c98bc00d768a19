"""CPU time of a training step and of scoring, and memory, against plain PyTorch with the channels first or last in memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from typing import Annotated

import torch
import typer
from inherit import by_size, new_network
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional

from hubserve.hub import load_model
from hubserve.training.faster_on_cpu import faster_on_cpu, faster_scoring_on_cpu
from hubserve.training.memory_format import in_training_format

WAYS = PLAIN, LAST, OURS = "plain", "channels last", "hubserve"
SUBNETS = ("smallest", "middle", "largest")
NETWORKS = (*(f"{name} of cifar10_cpu" for name in SUBNETS), "efficientnet-lite0", "mobilenetv3-large-100", "proxyless-cpu")
PIXELS = {name: 32 if name.endswith("cifar10_cpu") else 128 for name in NETWORKS}


def main(
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = 64,
    rounds: Annotated[int, typer.Option(help="Runs of each way, in turns; the lowest is printed.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps of a run, of which the median is taken.")] = 5,
    network: Annotated[list[str] | None, typer.Option(help="Networks; all unless given.")] = None,
    way: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Prints a table of training and one of scoring; each run is a process of its own."""
    if way is not None:
        print(json.dumps(measured((network or NETWORKS)[0], way, batch_size, steps)))
        return
    columns = "network", "pixels", *WAYS, f"{PLAIN} / {OURS}", f"{LAST} / {OURS}"
    trained = Table(*columns, "memory, MB", title=f"CPU ms of a training step of {batch_size} images, one thread; peak memory")
    scored = Table(*columns, title=f"CPU ms of {batch_size} images in eval mode, without gradients, one thread")
    for name in network or NETWORKS:
        runs = [[in_process(name, each, batch_size, steps) for each in WAYS] for _ in range(rounds)]
        lowest = {part: [min(run[place][part] for run in runs) for place in range(len(WAYS))] for part in runs[0][0]}
        trained.add_row(name, str(PIXELS[name]), *compared(lowest["train"]), ", ".join(f"{m:.0f}" for m in lowest["memory"]))
        scored.add_row(name, str(PIXELS[name]), *compared(lowest["score"]))
    for table in (trained, scored):
        Console(width=140).print(table)


def compared(ms: list[float]) -> list[str]:
    """The milliseconds of each way, and the ratios of the others to ours."""
    return [*(f"{value:.0f}" for value in ms), *(f"{value / ms[-1]:.2f}" for value in ms[:-1])]


def in_process(name: str, way: str, batch_size: int, steps: int) -> dict[str, float]:
    """`measured` in a process of its own: an allocator remembers what ran before."""
    options = ["--network", name, "--way", way, "--batch-size", str(batch_size), "--steps", str(steps)]
    run = subprocess.run([sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(run.stdout)
    return found


def measured(name: str, way: str, batch_size: int, steps: int) -> dict[str, float]:
    """CPU milliseconds of a network by its name in `NETWORKS`, trained and scored in one of `WAYS`, and peak memory in MB."""
    torch.set_num_threads(1)
    network = found(name)
    images, labels = torch.randn(batch_size, 3, PIXELS[name], PIXELS[name]), torch.arange(batch_size) % 10
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)

    def train() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    # Scored first: a process that has freed large tensors takes new ones without page faults, whatever the way.
    network.eval()
    with torch.no_grad(), scored_in(network, way):
        score = milliseconds(lambda: network(images), steps)
    network.train()
    with trained_in(network, way):
        train_ms = milliseconds(train, steps)
    return {"train": train_ms, "score": score, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000}


def milliseconds(step: Callable[[], object], steps: int) -> float:
    """Median of the CPU milliseconds of `steps` steps, after two others."""
    found = []
    for _ in range(steps + 2):
        before = time.process_time()
        step()
        found.append(1000 * (time.process_time() - before))
    return median(found[2:])


def found(name: str) -> nn.Module:
    """The network of a name in `NETWORKS`, with new weights."""
    if name.endswith("cifar10_cpu"):
        return new_network(by_size(len(SUBNETS))[SUBNETS.index(name.split()[0])][1], seed=0)
    return load_model(name, pretrained=False)


def trained_in(network: nn.Module, way: str) -> AbstractContextManager[None]:
    """Context manager in which a network is trained in one of `WAYS`."""
    return ours_to_train(network) if way == OURS else theirs(network, way)


def scored_in(network: nn.Module, way: str) -> AbstractContextManager[None]:
    """Context manager in which a network scores images in one of `WAYS`."""
    return faster_scoring_on_cpu(network, channels_last=True) if way == OURS else theirs(network, way)


@contextmanager
def ours_to_train(network: nn.Module) -> Iterator[None]:
    """Context manager in which hubserve trains a network."""
    with in_training_format(network), faster_on_cpu(network):
        yield


@contextmanager
def theirs(network: nn.Module, way: str) -> Iterator[None]:
    """Context manager in which PyTorch alone runs a network."""
    network.to(memory_format=torch.channels_last if way == LAST else torch.contiguous_format)  # type: ignore[call-overload]
    yield


if __name__ == "__main__":
    typer.run(main)
