"""Search on NAS-Bench-201: regret by strategy, the Pareto front, and what a trial costs by storage and by executor."""

from __future__ import annotations

import logging
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import optuna
import torch
import typer
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from rich.console import Console
from rich.table import Table
from torch import nn

from hubserve.evaluator import Evaluator, Trial, read_csv
from hubserve.experiment import Executor, InlineExecutor, NasExperiment, ProcessExecutor
from hubserve.experiment.ray_executor import RayExecutor
from hubserve.experiment.storage import open_storage
from hubserve.hub import NasBench201
from hubserve.hub.nasbench201 import to_arch_string
from hubserve.space import ModelSpace, Picker
from hubserve.strategy import (
    NSGA2,
    TPE,
    PolicyBasedRL,
    Random,
    RegularizedEvolution,
    Strategy,
    suggest_arch,
)

VAL, TEST, LATENCY = "c100_val_12ep", "c100_test_12ep", "gold_6226"
MARKS = (10, 25, 50, 100, 150, 200, 300, 500)
ROUNDS = 3
MOST_OVERHEAD = 1.5
CONSOLE = Console(width=165)

Rows = dict[str, tuple[float, float, float]]
"""Arch string -> validation accuracy, test accuracy, latency in ms."""


def main(
    seeds: int = 200,
    rl_seeds: int = 40,
    tpe_seeds: int = 20,
    pareto_seeds: int = 20,
    random_blocks: Annotated[int, typer.Option(help="Runs of 200 random trials, cut into runs of 10, 50 and 100.")] = 1000,
    overhead_trials: int = 100,
    part: Annotated[list[str], typer.Option(help="regret, pareto, overhead, executors; all unless given.")] = [],  # noqa: B006
    data: Annotated[Path | None, typer.Option(help="With benchmarks/nb201.csv; HUBSERVE_TEST_DATA unless given.")] = None,
) -> None:
    """Measures on one thread. The regret is that of the test accuracy of the arch with the best validation accuracy."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.disable(logging.INFO)
    parts = part or ["regret", "pareto", "overhead", "executors"]
    if "regret" in parts or "pareto" in parts:
        rows = _read_rows(data or Path(os.environ["HUBSERVE_TEST_DATA"]))
    if "regret" in parts:
        _regret(
            rows, {"Random": seeds, "RegularizedEvolution": seeds, "PolicyBasedRL": rl_seeds, "TPE": tpe_seeds}, random_blocks
        )
    if "pareto" in parts:
        _pareto(rows, pareto_seeds)
    if "overhead" in parts:
        _overhead(overhead_trials)
    if "executors" in parts:
        _executors(overhead_trials)


def _read_rows(folder: Path) -> Rows:
    table = read_csv(folder / "benchmarks" / "nb201.csv", key="index")
    table = table.joined(read_csv(folder / "benchmarks" / "nb201_latency.csv", key="index")).keyed_by("arch")
    return {arch: (row[VAL], row[TEST], row[LATENCY]) for arch, row in table.rows.items()}  # type: ignore[misc]


# 1. Regret


@dataclass(frozen=True)
class Competitor:
    """A strategy, and for how many trials it runs."""

    make: Callable[[int], Strategy]
    trials: int


COMPETITORS = {
    "Random": Competitor(lambda seed: Random(seed=seed), 500),
    "RegularizedEvolution": Competitor(lambda seed: RegularizedEvolution(seed=seed), 500),
    "PolicyBasedRL": Competitor(lambda seed: PolicyBasedRL(seed=seed), 300),
    "TPE": Competitor(lambda seed: TPE(seed=seed), 200),
}


def _regret(rows: Rows, seeds: Mapping[str, int], random_blocks: int) -> None:
    best = max(test for _, test, _ in rows.values())
    title = f"Regret in percent points, mean and 95 % interval; CIFAR-100, 12 epochs; the best arch has {best:.2f} %"
    table = Table("strategy", "seeds", *map(str, MARKS), "ms a trial", title=title)
    exact = {n: best - _expected_test(rows, n) for n in MARKS}
    table.add_row("closed form of Random", "", *(f"{exact[n]:.2f}" for n in MARKS), "")
    found: dict[str, dict[int, list[float]]] = {}
    for name, count in seeds.items():
        start = time.perf_counter()
        found[name] = _regrets(rows, COMPETITORS[name], range(count), best)
        cost = (time.perf_counter() - start) / count / COMPETITORS[name].trials * 1e3
        table.add_row(name, str(count), *(_with_interval(found[name].get(n)) for n in MARKS), f"{cost:.2f}")
    CONSOLE.print(table)
    blocks = _random_in_blocks(rows, random_blocks, best)
    check = Table("trials", "runs", "Random", "closed form", "difference", title="Random against its closed form")
    for n, values in blocks.items():
        mean = statistics.mean(values)
        check.add_row(str(n), str(len(values)), _with_interval(values), f"{exact[n]:.3f}", f"{mean - exact[n]:+.3f}")
    CONSOLE.print(check)
    for goal in _goals(found, {n: abs(statistics.mean(values) - exact[n]) for n, values in blocks.items()}):
        CONSOLE.print(goal, highlight=False)


def _regrets(rows: Rows, competitor: Competitor, seeds: range, best: float) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {n: [] for n in MARKS if n <= competitor.trials}
    for seed in seeds:
        history = list(_trials(rows, competitor.make(seed), competitor.trials))
        for n in found:
            found[n].append(best - max(history[:n], key=lambda scores: scores[0])[1])
    return found


def _trials(rows: Rows, strategy: Strategy, n: int) -> Iterator[tuple[float, float]]:
    """(validation, test) accuracy of each trial, in turn."""
    study = _search_study(strategy, n, ["maximize"])
    for _ in range(n):
        trial = study.ask()
        val, test, _ = rows[to_arch_string(suggest_arch(trial, SPACE))]
        study.tell(trial, val)
        yield val, test


def _search_study(strategy: Strategy, n: int, directions: Sequence[str]) -> optuna.Study:
    strategy.bind(SPACE, max_trials=n)
    return optuna.create_study(directions=directions, sampler=strategy)


def _expected_test(rows: Rows, n: int) -> float:
    """Exact expectation of the test accuracy of the best validation accuracy among n archs drawn with replacement.

    Archs with the same validation accuracy are equally likely to come first.
    """
    expectation, below = 0.0, 0
    for _, tied in groupby(sorted(rows.values()), key=lambda row: row[0]):
        tests = [test for _, test, _ in tied]
        up_to = below + len(tests)
        chance = (up_to / len(rows)) ** n - (below / len(rows)) ** n
        expectation, below = expectation + chance * statistics.mean(tests), up_to
    return expectation


def _random_in_blocks(rows: Rows, runs: int, best: float) -> dict[int, list[float]]:
    """Regrets of Random after 10, 50, 100 and 200 trials; a long run holds several short ones, one after the other."""
    found: dict[int, list[float]] = {n: [] for n in (10, 50, 100, 200)}
    for seed in range(runs):
        history = list(_trials(rows, Random(dedup=False, seed=1_000_000 + seed), 200))
        for n, values in found.items():
            values += (best - max(history[i : i + n], key=lambda scores: scores[0])[1] for i in range(0, 200, n))
    return found


def _verdict(text: str, met: bool) -> str:
    return f"{'met   ' if met else 'MISSED'} {text}"


def _goals(found: Mapping[str, Mapping[int, Sequence[float]]], differences: Mapping[int, float]) -> Iterator[str]:
    """What the project promised, and whether it holds."""
    yield _verdict(
        f"Random is within 0.1 of the closed form at {', '.join(map(str, differences))}: at most "
        f"{max(differences.values()):.3f} off",
        max(differences.values()) <= 0.1,
    )
    for name, n in (("RegularizedEvolution", 50), ("PolicyBasedRL", 300), ("TPE", 100)):
        ours, random = found[name][n], found["Random"][n]
        p = _chance_of_less(ours, random)
        most = 0.01 if name == "RegularizedEvolution" else 0.5
        yield _verdict(
            f"{name} below Random at {n}: {statistics.mean(ours):.2f} against {statistics.mean(random):.2f}, p = {p:.1e}",
            p < most,
        )
    at_150 = statistics.mean(found["RegularizedEvolution"][150])
    yield _verdict(f"RegularizedEvolution at most 0.75 at 150: {at_150:.2f}", at_150 <= 0.75)


def _chance_of_less(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """One-sided p of Welch's test, normal approximation, that the mean of `ours` is not below that of `theirs`."""
    error = math.sqrt(statistics.variance(ours) / len(ours) + statistics.variance(theirs) / len(theirs))
    return math.erfc((statistics.mean(theirs) - statistics.mean(ours)) / error / 2**0.5) / 2


def _with_interval(values: Sequence[float] | None) -> str:
    if values is None:
        return ""
    return f"{statistics.mean(values):.2f} ±{1.96 * statistics.stdev(values) / math.sqrt(len(values)):.2f}"


# 2. The Pareto front


def _pareto(rows: Rows, seeds: int) -> None:
    reference = (10.0, max(latency for _, _, latency in rows.values()))
    truth = _hypervolume([(val, latency) for val, _, latency in rows.values()], reference)
    title = (
        f"Share of the true hypervolume, {VAL} up and {LATENCY} down, reference 10 % and {reference[1]:.1f} ms; {seeds} seeds"
    )
    table = Table("strategy", "100 trials", "200 trials", title=title)
    makers: dict[str, Callable[[int], Strategy]] = {
        "Random": lambda seed: Random(seed=seed),
        "NSGA2": lambda seed: NSGA2(seed=seed),
    }
    for name, make in makers.items():
        shares: dict[int, list[float]] = {100: [], 200: []}
        for seed in range(seeds):
            points = list(_front_trials(rows, make(seed), 200))
            for n, values in shares.items():
                values.append(_hypervolume(points[:n], reference) / truth)
        table.add_row(name, *(_share(values) for values in shares.values()))
    CONSOLE.print(table)
    met = statistics.mean(shares[200]) >= 0.95
    CONSOLE.print(f"{'met   ' if met else 'MISSED'} NSGA2 at least 0.95 in 200 trials: {statistics.mean(shares[200]):.3f}")


def _front_trials(rows: Rows, strategy: Strategy, n: int) -> Iterator[tuple[float, float]]:
    """(validation accuracy, latency) of each trial, in turn."""
    study = _search_study(strategy, n, ["maximize", "minimize"])
    for _ in range(n):
        trial = study.ask()
        val, _, latency = rows[to_arch_string(suggest_arch(trial, SPACE))]
        study.tell(trial, (val, latency))
        yield val, latency


def _hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area between the front of (larger is better, smaller is better) points and the reference."""
    area, most = 0.0, reference[0]
    for value, cost in sorted(points, key=lambda point: (point[1], -point[0])):
        if value > most and cost < reference[1]:
            area += (value - most) * (reference[1] - cost)
            most = value
    return area


def _share(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ±{1.96 * statistics.stdev(values) / math.sqrt(len(values)):.3f}"


# 3. What a trial costs


@dataclass(frozen=True)
class Labels(ModelSpace):
    """As many choices as one likes, each of five candidates."""

    n: int

    def build(self, pick: Picker) -> nn.Module:
        return nn.Linear(sum(pick(f"label{i}", (1, 2, 3, 4, 5)) for i in range(self.n)), 1)


class Free(Evaluator):
    """Costs nothing."""

    def evaluate(self, space: ModelSpace, arch: Mapping[str, object], trial: Trial) -> dict[str, float]:
        return {"default": float(trial.number)}


MakeStorage = Callable[[Path], BaseStorage]
STORAGES: dict[str, MakeStorage] = {
    "in memory": lambda folder: InMemoryStorage(),
    "journal file, Optuna's": lambda folder: JournalStorage(JournalFileBackend(str(folder / "optuna.journal"))),
    "journal file, ours": lambda folder: open_storage(folder / "study.journal"),
    "SQLite": lambda folder: open_storage(f"sqlite:///{folder / 'study.db'}"),
}


def _overhead(n: int) -> None:
    """Bare Optuna asks, suggests and tells with its random sampler; ours is NasExperiment with Random and a free evaluator."""
    title = f"ms a trial, mean of {n}, best of {ROUNDS} rounds; the evaluator is free"
    table = Table(
        "storage",
        "labels",
        "bare Optuna",
        "NasExperiment",
        "ratio",
        title=title,
    )
    ratios: dict[str, float] = {}
    for name, make in STORAGES.items():
        for labels in (6, 67):
            # SQLite takes a tenth of a second and more; the rounds take turns, so that what else runs hits both.
            count = n if name != "SQLite" else max(1, n // 5)
            rounds = [(_bare_ms(make, labels, count), _experiment_ms(make, labels, count)) for _ in range(ROUNDS)]
            bare, ours = (min(times) for times in zip(*rounds, strict=True))
            ratios[f"{name}, {labels} labels"] = ours / bare
            table.add_row(name, str(labels), f"{bare:.2f}", f"{ours:.2f}", f"{ours / bare:.2f}x")
    CONSOLE.print(table)
    worst = max(ratios, key=lambda place: ratios[place])
    told = f"NasExperiment at most {MOST_OVERHEAD:g} times bare Optuna: at most {ratios[worst]:.2f} times ({worst})"
    CONSOLE.print(_verdict(told, ratios[worst] <= MOST_OVERHEAD), highlight=False)


def _bare_ms(make: MakeStorage, labels: int, n: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        study = optuna.create_study(storage=make(Path(folder)), direction="maximize", sampler=RandomSampler(seed=0))
        start = time.perf_counter()
        for _ in range(n):
            trial = study.ask()
            for i in range(labels):
                trial.suggest_categorical(f"label{i}", (1, 2, 3, 4, 5))
            study.tell(trial, float(trial.number))
        return (time.perf_counter() - start) / n * 1e3


def _experiment_ms(make: MakeStorage, labels: int, n: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        experiment = _free_experiment(make, labels, n, Path(name))
        _ = experiment.study
        start = time.perf_counter()
        experiment.run()
        return (time.perf_counter() - start) / n * 1e3


def _free_experiment(make: MakeStorage, labels: int, n: int, folder: Path, **options: Any) -> NasExperiment:
    return NasExperiment(
        Labels(labels),
        Free(),
        Random(seed=0),
        storage=make(folder),
        folder=folder,
        max_trials=n,
        seed=0,
        progress=False,
        **options,
    )


def _executors(n: int) -> None:
    """From the end of the first trial, before which workers start, to that of the last."""
    makers: dict[str, Callable[[], Executor]] = {
        "in this process": InlineExecutor,
        "one process": lambda: ProcessExecutor(1),
        "Ray, one worker": lambda: RayExecutor(1),
        "Ray, two workers": lambda: RayExecutor(2),
    }
    table = Table("executor", "ms a trial", "more", title=f"journal file, 6 labels, {n} trials, best of {ROUNDS} rounds")
    rounds = {name: [_executor_ms(make(), n) for _ in range(ROUNDS)] for name, make in makers.items()}
    inline = min(rounds["in this process"])
    for name, found in rounds.items():
        table.add_row(name, f"{min(found):.2f}", f"{min(found) - inline:+.2f}")
    CONSOLE.print(table)
    more = min(rounds["Ray, one worker"]) - inline
    CONSOLE.print(f"{'met   ' if more <= 20 else 'MISSED'} Ray takes at most 20 ms more: {more:.1f}")


def _executor_ms(executor: Executor, n: int) -> float:
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        ours, note = STORAGES["journal file, ours"], lambda _: ends.append(time.perf_counter())
        _free_experiment(ours, 6, n, Path(name), executor=executor, on_trial=note).run()
    return (ends[-1] - ends[0]) / (len(ends) - 1) * 1e3


SPACE = NasBench201()

if __name__ == "__main__":
    typer.run(main)
