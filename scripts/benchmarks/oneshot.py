"""How long one-shot strategies take, against NNI 3.0; what a step of a subnet costs; how well shared weights rank."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from hubserve.evaluator import Classification
from hubserve.hub import NasBench201, get_space
from hubserve.space import ModelSpace
from hubserve.strategy import DARTS, ENAS, GumbelDARTS, OneShotStrategy, Proxyless, RandomOneShot
from hubserve.strategy.oneshot import extract
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
    tau: bool = False,
    seeds: int = 3,
    subnets: int = 24,
    epochs: int = 60,
    alone_epochs: int = 8,
    repeats: int = 2,
    noise: float = 1.0,
) -> None:
    """Prints run times, then step times.

    Args:
        spaces: names, with commas between; "" leaves the run times out.
        strategies: likewise.
        archs: over which a step's median is taken.
        batch: pictures of such a step.
        tau: also train supernets on scikit-learn's digits and print how they rank subnets.
        seeds: supernets that are trained.
        subnets: that are trained alone.
        epochs: of a supernet.
        alone_epochs: of a subnet.
        repeats: of a subnet's training.
        noise: standard deviation of what is added to pixels between -1 and 1.
    """
    torch.set_num_threads(1)
    console = Console(width=120)
    names = [name for name in spaces.split(",") if name]
    if names:
        console.print(run_times(names, strategies.split(",")))
        console.print(step_times(names, archs, batch))
    if tau:
        console.print(rank_correlation(seeds, subnets, epochs, alone_epochs, repeats, noise))


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


@dataclass(frozen=True)
class Digits:
    """Scikit-learn's digits as pictures of 16 x 16 under much noise: 1,078 to train, 719 to judge.

    Without the noise all networks come to 98 or 99 %, and what ranks them is chance: the accuracies of one half of the
    trainings say little of those of the other half.
    """

    train: torch.utils.data.TensorDataset
    val: torch.utils.data.TensorDataset

    @classmethod
    def load(cls, noise: float) -> Digits:
        """Shuffled once, the same for all."""
        found = load_digits()
        pictures = torch.from_numpy(found.images).float()[:, None].repeat(1, 3, 1, 1) / 8 - 1
        pictures = functional.interpolate(pictures, scale_factor=2, mode="bilinear")
        generator = torch.Generator().manual_seed(0)
        pictures += noise * torch.randn(pictures.shape, generator=generator)
        order = torch.randperm(len(pictures), generator=generator)
        cut = len(order) * 3 // 5
        labels = torch.from_numpy(found.target)
        parts = (torch.utils.data.TensorDataset(pictures[part], labels[part]) for part in (order[:cut], order[cut:]))
        return cls(*parts)


def rank_correlation(seeds: int, subnets: int, epochs: int, alone_epochs: int, repeats: int, noise: float) -> Table:
    """Kendall's tau between the accuracy of subnets on shared weights and of the same networks trained alone.

    Trained alone a network has another accuracy each time, so its mean of several is taken; how well the means of two halves
    of these trainings agree says how much of a ranking there is to be found.
    """
    space, digits = NasBench201(stem_out_channels=8, num_modules_per_stack=1), Digits.load(noise)
    rng = Random("archs")
    archs = [space.random(rng) for _ in range(subnets)]
    alone = [[trained_alone(space, arch, digits, alone_epochs, repeat) for repeat in range(repeats)] for arch in archs]
    halves = [[statistics.mean(scores[half::2]) for scores in alone] for half in (0, 1)]
    means = [statistics.mean(scores) for scores in alone]
    title = (
        f"noisy digits 16 x 16, NasBench201 with 8 channels and one cell a stack, supernet {epochs} epochs of uniform paths, "
        f"{subnets} random subnets alone, mean of {repeats} times {alone_epochs} epochs: {_span(means)}, tau of the halves "
        f"{kendall_tau(*halves):.2f}"
    )
    table = Table("seed of the supernet", "Kendall tau", "accuracy on shared weights", "seconds", title=title)
    evaluator = digits_evaluator(digits, epochs)
    for seed in range(seeds):
        began = time.perf_counter()
        supernet = RandomOneShot().run(space, evaluator, seed=seed, device="cpu").supernet
        assert supernet is not None  # This strategy ends in one.
        shared = [extract(supernet, arch, evaluator, seed=seed).after["val_acc"] for arch in archs]
        table.add_row(str(seed), f"{kendall_tau(shared, means):.2f}", _span(shared), f"{time.perf_counter() - began:.0f}")
    return table


def trained_alone(space: ModelSpace, arch: dict[str, Any], digits: Digits, epochs: int, seed: int) -> float:
    """Accuracy of a network that shares nothing."""
    torch.manual_seed(seed)
    return digits_evaluator(digits, epochs).fit(space.freeze(arch))["val_acc"]


def _span(values: list[float]) -> str:
    least, quarter, *_, most = [min(values), *statistics.quantiles(values, n=4), max(values)]
    return f"{least:.3f} to {most:.3f}, three quarters above {quarter:.3f}"


def digits_evaluator(digits: Digits, epochs: int) -> Classification:
    """SGD with a cosine, for supernet and subnets alike."""
    return Classification(
        learning_rate=0.05,
        weight_decay=3e-4,
        optimizer="sgd",
        train_dataloaders=digits.train,
        val_dataloaders=digits.val,
        num_classes=10,
        batch_size=64,
        schedule="cosine",
        max_epochs=epochs,
        accelerator="cpu",
    )


def kendall_tau(a: list[float], b: list[float]) -> float:
    """Tau-b: pairs in the same order less pairs in opposite order, ties in either list taken out of the scale."""
    concordant = ties_a = ties_b = 0
    pairs = len(a) * (len(a) - 1) // 2
    for i in range(len(a)):
        for j in range(i):
            x, y = (a[i] > a[j]) - (a[i] < a[j]), (b[i] > b[j]) - (b[i] < b[j])
            concordant += x * y
            ties_a += x == 0
            ties_b += y == 0
    return concordant / max(1e-12, ((pairs - ties_a) * (pairs - ties_b)) ** 0.5)


if __name__ == "__main__":
    typer.run(main)
