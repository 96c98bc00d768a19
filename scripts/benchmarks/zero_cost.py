"""How well zero-cost scores rank archs of NAS-Bench-201: rank correlations with accuracies after 200 epochs, and their cost.

Each scored arch is written to a file at once, and is not scored again when the bench is run again.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Annotated

import numpy as np
import torch
import typer
from finetune import append, prepared, rows
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import bootstrap, kendalltau, spearmanr

from hubserve.benchmarks.score_table import read_csv
from hubserve.benchmarks.zero_cost import SCORES, draw_batch
from hubserve.data.loaders import Batch
from hubserve.data.named_datasets import load_dataset
from hubserve.hub import NasBench201
from hubserve.hub.nasbench201 import from_arch_string
from hubserve.training.seeding import seeded

ACCURACY = "c10_test_200ep"
"""Column of the table by which scores are judged: CIFAR-10's test accuracy after 200 epochs, in percent."""

BASELINE = "params"
"""The score that another one must beat to be recommended."""

ORDER = (BASELINE, "naswot", "synflow", "macs", "jacov", "snip", "zen")
"""Order in which the scores of all archs are computed: the baseline and the goal first, then the cheap ones."""

NASWOT_GOAL = (0.79, 0.05)
"""Spearman's coefficient that NASLib's scores give for naswot on 724 archs, and how near ours is to come."""

Statistic = Callable[[Sequence[float], Sequence[float]], float]


@dataclass(frozen=True)
class ScoredArch:
    """One score of one arch.

    Attributes:
        arch: Arch string of NAS-Bench-201.
        score: Name of the score.
        images: Number of images in the batch.
        seed: Seed of the batch, of the weights, and of the sample of archs.
        value: The score.
        cpu_ms: CPU milliseconds that it took in one thread, without building the network.
    """

    arch: str
    score: str
    images: int
    seed: int
    value: float
    cpu_ms: float

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes it from others of the file."""
        return self.arch, self.score, self.images, self.seed


def main(
    data: Annotated[Path, typer.Argument(help="cifar10-jpeg.tar.xz (train/CLASS/*.jpg, test/CLASS/*.jpg), or its folder.")],
    table: Annotated[Path, typer.Argument(help="nb201.csv with the columns arch and c10_test_200ep.")],
    archs: Annotated[int, typer.Option(help="Number of archs that are drawn from the table.")] = 500,
    images: Annotated[int, typer.Option(help="Number of training images in the batch.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed of the archs, the batch and the weights.")] = 0,
    score: Annotated[list[str] | None, typer.Option(help="Scores to compute; all unless given.")] = None,
    seconds: Annotated[float, typer.Option(help="Seconds after which no more is scored; what is there is printed.")] = math.inf,
    resamples: Annotated[int, typer.Option(help="Number of bootstrap resamples for the intervals.")] = 2000,
    workers: Annotated[int, typer.Option(help="Number of processes, of one thread each.")] = 1,
    out: Annotated[Path, typer.Option(help="File of scored archs.")] = Path("build/bench_zero_cost.jsonl"),
) -> None:
    """Scores the missing archs, and prints each score's correlation with the accuracies and its cost."""
    accuracies = {arch: float(value) for arch, value in read_csv(table).column(ACCURACY).items()}  # type: ignore[arg-type]
    order = sorted(accuracies)
    Random(seed).shuffle(order)
    chosen = order[:archs]  # Fewer archs are the first ones of more.
    done = {found.key: found for found in finished(out)}
    missing = [(arch, name) for name in score or ORDER for arch in chosen if (arch, name, images, seed) not in done]
    if missing and seconds > 0:
        out.parent.mkdir(parents=True, exist_ok=True)
        batch = cifar_batch(data if data.is_dir() else prepared(data, 500, out.parent), images, seed)
        for found in computed(missing, batch, seed, workers, time.monotonic() + seconds):
            append(out, found)
            done[found.key] = found
    rows = {name: [cell for arch in chosen if (cell := done.get((arch, name, images, seed)))] for name in SCORES}
    Console(width=120).print(report(rows, accuracies, resamples))


def finished(out: Path) -> list[ScoredArch]:
    """What the file has."""
    return [ScoredArch(**row) for row in rows(out)]


def computed(
    missing: Sequence[tuple[str, str]], batch: Batch, seed: int, workers: int, deadline: float
) -> Iterator[ScoredArch]:
    """Scores archs in processes and yields what is finished, until the deadline."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        waiting = [pool.submit(scored, arch, name, batch, seed) for arch, name in missing]
        for future in track(as_completed(waiting), "scoring", total=len(waiting)):
            yield future.result()
            if time.monotonic() > deadline:
                pool.shutdown(wait=False, cancel_futures=True)
                return


def _one_thread() -> None:
    torch.set_num_threads(1)


def cifar_batch(folder: Path, images: int, seed: int) -> Batch:
    """A batch of CIFAR-10's training images, not augmented."""
    return draw_batch(load_dataset("cifar10", folder, augment=False, limit=2000), images, seed=seed)


def scored(text: str, name: str, batch: Batch, seed: int) -> ScoredArch:
    """Scores an arch with the settings of the benchmark: 16 channels and 5 cells in each of 3 stacks."""
    with seeded(seed):
        network = NasBench201().freeze(from_arch_string(text))
    began = time.process_time()
    value = SCORES[name](network, batch, seed=seed)
    return ScoredArch(text, name, len(batch[0]), seed, value, 1000 * (time.process_time() - began))


def report(cells: Mapping[str, Sequence[ScoredArch]], accuracies: Mapping[str, float], resamples: int) -> Table:
    """A line for each score, the best one first. A score is compared with the baseline on the archs that have both."""
    table = Table(
        "score",
        "archs",
        "Spearman (95 %)",
        "Kendall (95 %)",
        f"Spearman minus that of {BASELINE} (95 %)",
        f"beats {BASELINE}",
        "CPU ms an arch",
        title="NAS-Bench-201: accuracy on CIFAR-10's test images after 200 epochs, and zero-cost scores",
    )
    size = {cell.arch: cell.value for cell in cells[BASELINE]}
    lines, found = [], {}
    for name, scored_archs in cells.items():
        both = [cell for cell in scored_archs if cell.arch in size]
        if len(both) < 3:
            continue
        values, baseline = [cell.value for cell in both], [size[cell.arch] for cell in both]
        truth = [accuracies[cell.arch] for cell in both]
        found[name] = spearman(values, truth)
        lead, low, high = difference(values, baseline, truth, resamples) if name != BASELINE else (0.0, 0.0, 0.0)
        line = (
            name,
            str(len(both)),
            with_interval(spearman, values, truth, resamples),
            with_interval(kendall, values, truth, resamples),
            "" if name == BASELINE else f"{lead:+.3f} ({low:+.3f} to {high:+.3f})",
            "" if name == BASELINE else "yes" if low > 0 else "no" if lead <= 0 else "not surely",
            f"{statistics.median(cell.cpu_ms for cell in both):.0f}",
        )
        lines.append((found[name], line))
    for _, line in sorted(lines, reverse=True):
        table.add_row(*line)
    goal, within = NASWOT_GOAL
    if "naswot" in found:
        verdict = "met" if abs(found["naswot"] - goal) <= within else "MISSED"
        table.caption = f"{verdict}: naswot within {within} of {goal}: {found['naswot']:.3f}"
    return table


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(a, b).statistic)


def kendall(a: Sequence[float], b: Sequence[float]) -> float:
    """Kendall's tau-b."""
    return float(kendalltau(a, b).statistic)


def with_interval(statistic: Statistic, a: Sequence[float], b: Sequence[float], resamples: int) -> str:
    """A statistic of pairs, and its interval of 95 % by bootstrap."""
    low, high = interval(statistic, (a, b), resamples)
    return f"{statistic(a, b):.3f} ({low:.3f} to {high:.3f})"


def difference(
    a: Sequence[float], baseline: Sequence[float], accuracies: Sequence[float], resamples: int
) -> tuple[float, float, float]:
    """How much better `a` ranks the same archs than the baseline, and the interval of 95 % by bootstrap over archs."""

    def lead(score: Sequence[float], other: Sequence[float], accuracy: Sequence[float]) -> float:
        return spearman(score, accuracy) - spearman(other, accuracy)

    return lead(a, baseline, accuracies), *interval(lead, (a, baseline, accuracies), resamples)


def interval(statistic: Callable[..., float], samples: tuple[Sequence[float], ...], resamples: int) -> tuple[float, float]:
    """Percentiles 2.5 and 97.5 of a statistic over resampled archs."""
    rng = np.random.default_rng(0)
    found = bootstrap(
        samples, statistic, paired=True, vectorized=False, n_resamples=resamples, method="percentile", rng=rng
    ).confidence_interval
    return float(found.low), float(found.high)


if __name__ == "__main__":
    typer.run(main)
