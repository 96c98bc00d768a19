"""Accuracy of a searched NAS-BERT network on film sentences, against TF-IDF with logistic regression and random archs.

The space, the strategy and the recipes are those of search_jobs/text_quickstart.yaml. The sentences are divided into folds. The
search, and as many random archs, are trained and scored on all folds but the first. Then the winner is trained anew on all
folds but one, for each fold and seed, and tested on that one; so each sentence is tested once for each seed, and for the
baseline. Each finished cell is written to a file at once and is not run again when the bench is; a training or search that was
killed goes on after its last complete epoch or trial.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from statistics import mean
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
import yaml
from finetune import append, rows
from rich.console import Console
from rich.table import Table

from hubserve.data.movie_sentences import LABELS, rated_sentences
from hubserve.data.parts import draw
from hubserve.data.text_data import TextData, text_data
from hubserve.evaluator import Classification, Trial
from hubserve.experiment import NasExperiment
from hubserve.hub import NASBERT
from hubserve.jobs import Recipe, Retraining
from hubserve.pipeline.phases.test import logits_of
from hubserve.pipeline.tasks.recipe_arguments import recipe_arguments
from hubserve.space import Arch
from hubserve.strategy import RegularizedEvolution

JOB = Path(__file__).parent.parent.parent / "search_jobs" / "text_quickstart.yaml"
GOAL = 0.02
"""Largest difference of the best of the search to the best random arch, as a share of the validation sentences."""


@dataclass(frozen=True)
class TextCell:
    """One finished result.

    Attributes:
        kind: "trial" of the search or "random" arch, on the validation sentences; "network" or "baseline", on a test fold.
        setup: Digest of the job and the options on which results depend.
        number: Number of the trial, of the random arch, or of the fold.
        seed: Seed of the training; 0 for the baseline.
        accuracy: Share of the sentences that are right.
        right: For a test fold, one bit for each sentence in its order, 1 if it is right, in hexadecimal; else empty.
        arch: The arch; empty for the baseline.
        cpu_seconds: CPU seconds of the cell.
    """

    kind: Literal["trial", "random", "network", "baseline"]
    setup: str
    number: int
    seed: int
    accuracy: float
    right: str
    arch: Arch
    cpu_seconds: float


@dataclass(frozen=True)
class Setup:
    """The options on which results depend.

    Attributes:
        folds: Number of folds.
        trials: Number of trials of the search, and of random archs.
    """

    folds: int
    trials: int

    @property
    def job(self) -> dict[str, Any]:
        """The job file."""
        found: dict[str, Any] = yaml.safe_load(JOB.read_text("utf-8"))
        return found

    @property
    def digest(self) -> str:
        """Distinguishes cells of different options or jobs in one file."""
        used = {key: self.job[key] for key in ("space", "data", "strategy", "recipe", "retrain")}
        return hashlib.sha256(json.dumps([self.folds, self.trials, used], sort_keys=True).encode()).hexdigest()[:12]

    def data(self, fold: int, *, search: bool = False) -> TextData:
        """The sentences that are not in `fold` to train; those in it to test, or a tenth of the others for a search."""
        items = rated_sentences()
        places = folds_of(self.folds)
        others = [item for item, place in zip(items, places, strict=True) if place != fold]
        own = [item for item, place in zip(items, places, strict=True) if place == fold]
        if search:
            parts = draw([label for _, label in others], [key(text) for text, _ in others], (0.9,), seed=1)
            own = [item for item, part in zip(others, parts, strict=True) if part == 1]
            others = [item for item, part in zip(others, parts, strict=True) if part == 0]
        settings = self.job["data"]["settings"]
        given = {
            "vocabulary": settings["vocabulary"],
            "max_tokens": settings["max_tokens"],
            "kind": settings.get("kind", "words"),
        }
        return text_data("movie-sentences", {"train": others, "val": own, "test": own}, LABELS, **given)

    def space(self, data: TextData) -> NASBERT:
        """The space of the job, for the vocabulary of the data."""
        settings = {k: tuple(v) if isinstance(v, list) else v for k, v in self.job["space"]["settings"].items()}
        sizes = {"num_labels": len(LABELS), "vocab_size": data.vocabulary, "max_length": data.max_tokens}
        return NASBERT(**{**sizes, **settings})

    def evaluator(self, data: TextData, recipe: Literal["recipe", "retrain"]) -> Classification:
        """The evaluator that trains by a recipe of the job."""
        made = {"recipe": Recipe, "retrain": Retraining}[recipe](**self.job[recipe])
        return Classification(datamodule=data, num_classes=len(LABELS), **recipe_arguments(made))


def main(
    seeds: Annotated[int, typer.Option(help="Number of seeds of each fold, from 0.")] = 3,
    folds: Annotated[int, typer.Option(help="Number of folds.")] = 5,
    trials: Annotated[int, typer.Option(help="Trials of the search, and random archs.")] = 20,
    threads: Annotated[int, typer.Option(help="Threads of PyTorch.")] = 1,
    out: Annotated[Path, typer.Option(help="File of finished cells.")] = Path("build/bench_text.jsonl"),
    only_report: Annotated[bool, typer.Option(help="Print the finished cells and run none.")] = False,
) -> None:
    """Runs the missing cells, and prints accuracies and paired differences."""
    torch.set_num_threads(threads)
    setup = Setup(folds, trials)
    out.parent.mkdir(parents=True, exist_ok=True)
    if not only_report:
        winner = searched(setup, out)
        for fold in range(folds):
            baseline(setup, fold, out)
        for seed in range(seeds):
            for fold in range(folds):
                network(setup, winner, fold, seed, out)
        random_archs(setup, out)
    Console(width=120).print(report(cells(out, setup)))


@cache
def folds_of(count: int) -> list[int]:
    """The fold of each sentence; equal sentences are in one fold."""
    items = rated_sentences()
    return draw([label for _, label in items], [key(text) for text, _ in items], (1 / count,) * (count - 1), seed=0)


def key(text: str) -> str:
    """A sentence without differences of case and spaces."""
    return " ".join(text.lower().split())


def cells(out: Path, setup: Setup) -> list[TextCell]:
    """The finished cells of these options."""
    return [cell for cell in (TextCell(**row) for row in rows(out)) if cell.setup == setup.digest]


def known(out: Path, setup: Setup, kind: str, number: int, seed: int = 0) -> bool:
    """Whether a cell is finished."""
    return any((cell.kind, cell.number, cell.seed) == (kind, number, seed) for cell in cells(out, setup))


def unfinished(out: Path, setup: Setup, name: str) -> Path:
    """The folder of a training or search that is not finished."""
    return out.parent / f"{out.stem}-unfinished" / f"{setup.digest}-{name}"


def searched(setup: Setup, out: Path) -> Arch:
    """The arch of the best trial; runs the search, or its missing trials, first."""
    found = [cell for cell in cells(out, setup) if cell.kind == "trial"]
    if len(found) < setup.trials:
        data = setup.data(0, search=True)
        began = time.process_time()
        experiment = NasExperiment(
            setup.space(data),
            setup.evaluator(data, "recipe"),
            RegularizedEvolution(**setup.job["strategy"]["arguments"]),
            folder=unfinished(out, setup, "search"),
            max_trials=setup.trials,
            seed=0,
            progress=False,
        )
        experiment.run()
        spent = (time.process_time() - began) / setup.trials
        for trial in experiment.export_data():
            if not known(out, setup, "trial", trial.number):
                scored = trial.scores["val_acc"]
                append(out, TextCell("trial", setup.digest, trial.number, 0, scored, "", dict(trial.arch), spent))
        found = [cell for cell in cells(out, setup) if cell.kind == "trial"]
    return max(found, key=lambda cell: (cell.accuracy, -cell.number)).arch


def random_archs(setup: Setup, out: Path) -> None:
    """Trains and scores the missing random archs, each with a seed of its own, as trials have."""
    data = setup.data(0, search=True)
    space, rng = setup.space(data), Random(1)
    for number in range(setup.trials):
        arch = space.random(rng)
        if known(out, setup, "random", number):
            continue
        began, folder = time.process_time(), unfinished(out, setup, f"random-{number}")
        trial = Trial(seed=number, checkpoint=folder / "training.pt")
        scored = setup.evaluator(data, "recipe").evaluate(space, arch, trial)["val_acc"]
        append(out, TextCell("random", setup.digest, number, 0, scored, "", dict(arch), time.process_time() - began))
        shutil.rmtree(folder, ignore_errors=True)


def network(setup: Setup, arch: Arch, fold: int, seed: int, out: Path) -> None:
    """Trains the arch on all folds but one with the recipe for winners, and tests it on that one."""
    if known(out, setup, "network", fold, seed):
        return
    began, folder = time.process_time(), unfinished(out, setup, f"network-{fold}-{seed}")
    data = setup.data(fold)
    torch.manual_seed(seed)
    model = setup.space(data).freeze(arch)
    evaluator = setup.evaluator(data, "retrain")
    evaluator.fit(model, Trial(seed=seed, checkpoint=folder / "training.pt"))
    logits, true = logits_of(model.eval(), evaluator.val_batches())
    right = logits.argmax(1) == true
    cell = TextCell("network", setup.digest, fold, seed, float(right.mean()), bits(right), arch, time.process_time() - began)
    append(out, cell)
    shutil.rmtree(folder, ignore_errors=True)


def baseline(setup: Setup, fold: int, out: Path) -> None:
    """Fits TF-IDF with logistic regression on all folds but one, and tests it on that one."""
    if known(out, setup, "baseline", fold):
        return
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    began, data = time.process_time(), setup.data(fold)
    train, test = data.train, data.test
    words = TfidfVectorizer()
    model = LogisticRegression(max_iter=1000).fit(words.fit_transform(train.texts), train.targets.numpy())
    right = model.predict(words.transform(test.texts)) == test.targets.numpy()
    append(out, TextCell("baseline", setup.digest, fold, 0, float(right.mean()), bits(right), {}, time.process_time() - began))


def bits(right: np.ndarray[Any, Any]) -> str:
    """Truth values as hexadecimal digits, with a 1 before them that keeps leading zeros."""
    return f"{int('1' + ''.join('1' if value else '0' for value in right), 2):x}"


def truths(digits: str) -> np.ndarray[Any, Any]:
    """What `bits` was given, as numbers 0 and 1."""
    return np.array([int(bit) for bit in f"{int(digits, 16):b}"[1:]], np.float64)


def report(found: list[TextCell]) -> Table:
    """A line for each fold, for all of them with the paired difference, and for the search beside random archs."""
    table = Table("what", "network", "baseline", "difference", title="accuracy on sentences of film reviews")
    differences, networks, bases = [], [], []
    for fold in sorted({cell.number for cell in found if cell.kind == "network"}):
        own = [cell for cell in found if cell.kind == "network" and cell.number == fold]
        base = next((cell for cell in found if cell.kind == "baseline" and cell.number == fold), None)
        if base is None:
            continue
        ours = np.mean([truths(cell.right) for cell in own], axis=0)
        differences.append(ours - truths(base.right))
        networks.append(mean(cell.accuracy for cell in own))
        bases.append(base.accuracy)
        change = 100 * (networks[-1] - base.accuracy)
        table.add_row(f"test fold {fold}, {len(own)} seeds", f"{networks[-1]:.2%}", f"{base.accuracy:.2%}", f"{change:+.2f}")
    if differences:
        low, high = interval(np.concatenate(differences))
        verdict = "above it" if low > 0 else "below it" if high < 0 else "on a par"
        total = 100 * float(np.concatenate(differences).mean())
        text = f"{total:+.2f}, 95 % interval {100 * low:+.2f} to {100 * high:+.2f}: {verdict}"
        table.add_row("all folds", f"{mean(networks):.2%}", f"{mean(bases):.2%}", text, end_section=True)
    return with_search(table, found)


def interval(differences: np.ndarray[Any, Any]) -> tuple[float, float]:
    """95 % interval of the mean of the differences of single sentences, which are paired."""
    error = float(differences.std(ddof=1)) / len(differences) ** 0.5
    return float(differences.mean()) - 1.96 * error, float(differences.mean()) + 1.96 * error


def with_search(table: Table, found: Sequence[TextCell]) -> Table:
    """Adds the best of the search and of the random archs, on the validation sentences."""
    best = {kind: [cell.accuracy for cell in found if cell.kind == kind] for kind in ("trial", "random")}
    for kind, scored in best.items():
        if scored:
            name = "trials of the search" if kind == "trial" else "random archs"
            spread = f"mean {mean(scored):.2%}, worst {min(scored):.2%}"
            table.add_row(f"validation, best of {len(scored)} {name}", f"{max(scored):.2%}", "", spread)
    if best["trial"] and best["random"]:
        gap = max(best["random"]) - max(best["trial"])
        table.add_row("search behind the best random arch", f"{100 * gap:+.2f}", "", f"goal {GOAL:.0%}: {_met(gap <= GOAL)}")
    return table


def _met(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


if __name__ == "__main__":
    typer.run(main)
