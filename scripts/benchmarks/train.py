"""CPU seconds of a training step, and memory, against a plain loop of PyTorch, whose images have the channels first or last."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from hubserve.training.faster_on_cpu import faster_on_cpu
from hubserve.training.memory_format import in_training_format

WAYS = PLAIN, LAST, OURS = "plain", "channels last", "hubserve"
SUBNETS = ("smallest", "middle", "largest")
NETWORKS = (*(f"{name} of cifar10_cpu" for name in SUBNETS), "efficientnet-lite0", "mobilenetv3-large-100", "proxyless-cpu")
PIXELS = {name: 32 if name.endswith("cifar10_cpu") else 128 for name in NETWORKS}


def main(
    batch_size: Annotated[int, typer.Option(help="Images in a training step.")] = 64,
    rounds: Annotated[int, typer.Option(help="Runs of each way, in turns; the lowest is printed.")] = 3,
    steps: Annotated[int, typer.Option(help="Steps of a run, of which the median is taken.")] = 5,
    network: Annotated[list[str] | None, typer.Option(help="Networks; all unless given.")] = None,
    way: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Prints a line for each network; each run is a process of its own."""
    if way is not None:
        print(json.dumps(measured((network or NETWORKS)[0], way, batch_size, steps)))
        return
    title = f"CPU ms of a training step of {batch_size} images, one thread, and peak memory of the process in MB"
    table = Table("network", "pixels", *WAYS, f"{PLAIN} / {OURS}", f"{LAST} / {OURS}", "memory", title=title)
    for name in network or NETWORKS:
        runs = [[in_process(name, each, batch_size, steps) for each in WAYS] for _ in range(rounds)]
        ms, memory = ([min(run[place][part] for run in runs) for place in range(len(WAYS))] for part in range(2))
        ratios = [f"{ms[place] / ms[2]:.2f}" for place in range(2)]
        table.add_row(
            name, str(PIXELS[name]), *(f"{value:.0f}" for value in ms), *ratios, ", ".join(f"{m:.0f}" for m in memory)
        )
    Console(width=140).print(table)


def in_process(name: str, way: str, batch_size: int, steps: int) -> tuple[float, float]:
    """`measured` in a process of its own: an allocator remembers what ran before."""
    options = ["--network", name, "--way", way, "--batch-size", str(batch_size), "--steps", str(steps)]
    run = subprocess.run([sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True)
    ms, memory = json.loads(run.stdout)
    return ms, memory


def measured(name: str, way: str, batch_size: int, steps: int) -> tuple[float, float]:
    """(CPU milliseconds of a step, peak memory in MB) of a network by its name in `NETWORKS`, trained in one of `WAYS`."""
    torch.set_num_threads(1)
    network = found(name).train()
    images, labels = torch.randn(batch_size, 3, PIXELS[name], PIXELS[name]), torch.arange(batch_size) % 10
    optimizer = torch.optim.SGD(network.parameters(), 1e-3, momentum=0.9)
    seconds = []
    with trained_in(network, way):
        for _ in range(steps + 2):
            before = time.process_time()
            optimizer.zero_grad()
            functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seconds.append(time.process_time() - before)
    return 1000 * median(seconds[2:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def found(name: str) -> nn.Module:
    """The network of a name in `NETWORKS`, with new weights."""
    if name.endswith("cifar10_cpu"):
        return new_network(by_size(len(SUBNETS))[SUBNETS.index(name.split()[0])][1], seed=0)
    return load_model(name, pretrained=False)


@contextmanager
def trained_in(network: nn.Module, way: str) -> Iterator[None]:
    """Context manager in which a network is trained in one of `WAYS`."""
    if way == PLAIN:
        yield
    elif way == LAST:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        yield
    else:
        with in_training_format(network), faster_on_cpu(network):
            yield


if __name__ == "__main__":
    typer.run(main)
