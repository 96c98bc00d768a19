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
"""Seconds for one epoch of 4 training batches of 4 pictures 3 x 32 x 32 and validation, from the start of the experiment to its
arch: NNI 3.0 on torch 2.13, from another run on a machine like this. Where there is no number NNI fails."""

STRATEGIES = {"RandomOneShot": RandomOneShot, "DARTS": DARTS, "GumbelDARTS": GumbelDARTS, "Proxyless": Proxyless, "ENAS": ENAS}


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
    """Whole runs in NNI's setting."""
    title = "seconds of a run: 4 batches of 4 pictures 32 x 32 and validation, 1 thread; NNI's figures are from another run"
    table = Table("space", "strategy", "seconds", "of these, before the first step", "NNI", "ratio", title=title)
    for name in spaces:
        for strategy in strategies:
            started = time.perf_counter()
            first: list[float] = []
            space = get_space(name, SETTINGS.get(name))
            evaluator = noise(space)
            make: type[OneShotStrategy] = STRATEGIES[strategy]
            result = make().run(
                space,
                evaluator,
                on_step=lambda row, first=first: first.append(time.perf_counter()) if not first else None,
                device="cpu",
            )
            if result.supernet is not None and result.arch is not None:
                evaluator.validate(result.supernet.extract(result.arch))
            seconds = time.perf_counter() - started
            theirs = NNI_SECONDS.get(strategy, {}).get(name)
            ratio = "-" if theirs is None else f"{theirs / seconds:.1f}x"
            told = "fails" if theirs is None else f"{theirs:.1f}"
            table.add_row(name, strategy, f"{seconds:.2f}", f"{first[0] - started:.2f}", told, ratio)
    return table


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
