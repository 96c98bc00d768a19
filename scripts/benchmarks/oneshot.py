"""How long one-shot strategies take, against NNI 3.0, and what a step of a subnet costs."""

from __future__ import annotations

import statistics
import time
from random import Random

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from hubserve.evaluator import Classification
from hubserve.hub import get_space
from hubserve.space import ModelSpace
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, OneShotStrategy, Proxyless, RandomOneShot
from hubserve.supernet import SharedOptimizer, Supernet

CELLS = {"width": (8,), "num_cells": (4,)}
SETTINGS = {
    "NasBench101": {"stem_out_channels": 16, "num_modules_per_stack": 1},
    "NasBench201": {"num_modules_per_stack": 1},
    "AutoFormer": {"img_size": 32, "patch_size": 8},
} | dict.fromkeys(("NASNet", "ENAS", "AmoebaNet", "PNAS", "DARTS"), CELLS)
NNI_SECONDS = {
    "RandomOneShot": {
        "NasBench201": 1.0,
        "DARTS": 1.8,
        "ENAS": 1.3,
        "ProxylessNAS": 1.2,
        "MobileNetV3Space": 4.8,
        "ShuffleNetSpace": 1.4,
        "AutoFormer": 1.1,
    },
    "DARTS": {
        "NasBench201": 0.6,
        "DARTS": 7.9,
        "ENAS": 5.1,
        "ProxylessNAS": 4.1,
        "MobileNetV3Space": 58.8,
        "ShuffleNetSpace": 2.5,
        "AutoFormer": 4.0,
    },
    "GumbelDARTS": {
        "NasBench201": 0.7,
        "DARTS": 5.7,
        "ENAS": 7.6,
        "ProxylessNAS": 4.5,
        "MobileNetV3Space": 107.8,
        "ShuffleNetSpace": 3.7,
        "AutoFormer": 4.3,
    },
    "Proxyless": {"NasBench201": 0.5, "ProxylessNAS": 7.9, "ShuffleNetSpace": 1.5},
}
"""Wall seconds for one epoch of 4 training batches of 4 images 3 x 32 x 32 and validation, from the start of the experiment to
its arch: NNI 3.0 on torch 2.13, from another run on a machine like this. Where there is no number NNI fails."""

NNI_CPU_SECONDS = {
    "RandomOneShot": {
        "NasBench201": 0.32,
        "DARTS": 1.21,
        "ENAS": 1.68,
        "PNAS": 2.93,
        "ProxylessNAS": 1.52,
        "ShuffleNetSpace": 2.04,
        "AutoFormer": 1.67,
    },
    "DARTS": {
        "NasBench201": 0.87,
        "DARTS": 6.40,
        "ENAS": 5.93,
        "PNAS": 12.07,
        "ProxylessNAS": 4.81,
        "ShuffleNetSpace": 3.28,
        "AutoFormer": 5.63,
    },
}
"""CPU seconds of the process for the same: NNI 3.0 on torch 2.14.1, one thread, one run each on two shared cores under load.
Its DARTS learns one edge for each pair of nodes of a cell, ours each of the two edges that a node has: twice the layers."""

STRATEGIES: dict[str, type[OneShotStrategy]] = {
    "RandomOneShot": RandomOneShot,
    "DARTS": DARTS,
    "GumbelDARTS": GumbelDARTS,
    "Proxyless": Proxyless,
    "ENAS": ENAS,
}


def main(
    spaces: str = "NasBench201,DARTS,ENAS,ProxylessNAS,MobileNetV3Space,ShuffleNetSpace,AutoFormer",
    strategies: str = ",".join(STRATEGIES),
    archs: int = 12,
    batch: int = 32,
) -> None:
    """Prints run times, then step times.

    Args:
        spaces: names, with commas between; "" leaves the run times out.
        strategies: likewise.
        archs: over which a step's median is taken.
        batch: pictures of such a step.
    """
    torch.set_num_threads(1)
    console = Console(width=120)
    names = [name for name in spaces.split(",") if name]
    if names:
        console.print(run_times(names, strategies.split(",")))
        console.print(step_times(names, archs, batch))


def run_times(spaces: list[str], strategies: list[str]) -> Table:
    """Whole runs in NNI's setting, in CPU seconds of this process, which other programs change less than wall time."""
    title = "a run: 4 batches of 4 images 32 x 32 and validation, 1 thread; CPU seconds, NNI's figures are from other runs"
    columns = ("space", "strategy", "CPU s", "of these, start", "NNI CPU s", "ratio", "NNI wall s", "ratio")
    table = Table(*columns, title=title)
    for name in spaces:
        for strategy in strategies:
            started = time.process_time()
            steps: list[float] = []
            space = get_space(name, SETTINGS.get(name))
            evaluator = noise(space)
            result = STRATEGIES[strategy]().run(
                space,
                evaluator,
                on_step=lambda row, steps=steps: steps.append(time.process_time()),
                device="cpu",
            )
            if result.supernet is not None and result.arch is not None:
                evaluator.validate(result.supernet.extract(result.arch))
            seconds = time.process_time() - started
            # What the first step takes longer than the others is part of the start: the network is built there.
            step = (steps[-1] - steps[0]) / (len(steps) - 1)
            start = steps[0] - step - started
            cpu, wall = (figures.get(strategy, {}).get(name) for figures in (NNI_CPU_SECONDS, NNI_SECONDS))
            table.add_row(name, strategy, f"{seconds:.2f}", f"{start:.2f}", *_against(cpu, seconds), *_against(wall, seconds))
    return table


def _against(theirs: float | None, ours: float) -> tuple[str, str]:
    """Returns NNI's seconds and how many times ours they are; "-" where there is no figure."""
    return ("-", "-") if theirs is None else (f"{theirs:.2f}", f"{theirs / ours:.1f}x")


def noise(space: ModelSpace) -> Classification:
    """Four training and four validation batches."""
    labels = 1000 if not hasattr(space, "num_labels") else space.num_labels
    generator = torch.Generator().manual_seed(0)
    data = torch.utils.data.TensorDataset(
        torch.randn(16, 3, 32, 32, generator=generator), torch.randint(labels, (16,), generator=generator)
    )
    return Classification(train_dataloaders=data, val_dataloaders=data, batch_size=4, max_epochs=1, accelerator="cpu")


def step_times(spaces: list[str], archs: int, batch: int) -> Table:
    """A training step of a random subnet, new and kept ready, against that of the bare network."""
    title = f"ms of a training step of {batch} pictures 32 x 32 with Adam, median over {archs} random archs, in turns, 1 thread"
    table = Table("space", "bare network", "subnet kept ready", "ratio", "new subnet (SPOS)", "ratio", title=title)
    for name in spaces:
        space = get_space(name, SETTINGS.get(name))
        rng, net = Random(0), Supernet(space, cache=2 * archs)
        shared = SharedOptimizer(net.tensors, torch.optim.Adam(net.parameters(), 1e-3))
        x = torch.randn(batch, 3, 32, 32)
        net.train()
        bare, ready, new = [], [], []
        for arch in [space.random(rng) for _ in range(archs)]:
            model = space.freeze(arch).train()
            optimizer = torch.optim.Adam(model.parameters(), 1e-3)
            _step(model, x)
            optimizer.step()
            optimizer.zero_grad()
            # A first step makes the optimizer's state, here and there.
            began = time.perf_counter()
            subnet = net.subnet(arch)
            building = time.perf_counter() - began
            _step(subnet.network, x)
            shared.step(subnet.leaves)
            began = time.perf_counter()
            _step(model, x)
            optimizer.step()
            bare.append(time.perf_counter() - began)
            began = time.perf_counter()
            subnet = net.subnet(arch)
            _step(subnet.network, x)
            shared.step(subnet.leaves)
            ready.append(time.perf_counter() - began)
            new.append(ready[-1] + building)
        ours, kept, fresh = (statistics.median(values) * 1e3 for values in (bare, ready, new))
        table.add_row(name, f"{ours:.1f}", f"{kept:.1f}", f"{kept / ours:.2f}", f"{fresh:.1f}", f"{fresh / ours:.2f}")
    return table


def _step(model: nn.Module, x: torch.Tensor) -> None:
    output = model(x)
    (output[0] if isinstance(output, tuple) else output).square().mean().backward()


if __name__ == "__main__":
    typer.run(main)
