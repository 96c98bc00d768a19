"""What a trial costs by storage and by executor; `hubserve compare` measures what strategies find."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

from hubserve.evaluator import Evaluator, Trial
from hubserve.experiment import Executor, InlineExecutor, NasExperiment, ProcessExecutor
from hubserve.experiment.ray_executor import RayExecutor
from hubserve.experiment.storage import open_storage
from hubserve.space import ModelSpace, Picker
from hubserve.strategy import Random

ROUNDS = 3
MOST_OVERHEAD = 1.5
CONSOLE = Console(width=165)


def main(
    overhead_trials: int = 100,
    part: Annotated[list[str], typer.Option(help="overhead, executors; both unless given.")] = [],  # noqa: B006
) -> None:
    """Measures on one thread what a trial costs beside its evaluation; `hubserve compare` says what strategies find."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.disable(logging.INFO)
    parts = part or ["overhead", "executors"]
    if "overhead" in parts:
        _overhead(overhead_trials)
    if "executors" in parts:
        _executors(overhead_trials)


def _verdict(text: str, met: bool) -> str:
    return f"{'met   ' if met else 'MISSED'} {text}"


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


if __name__ == "__main__":
    typer.run(main)
