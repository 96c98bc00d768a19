"""From the winner to a published model: trained, judged on the test part, exported, profiled, published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

from hubserve import store
from hubserve.cards.card import Metric
from hubserve.errors import JobError, NothingFeasibleError
from hubserve.evaluator import Trial
from hubserve.export.model_source import ModelSource
from hubserve.export.write_package import write_package
from hubserve.hub.pretrained import load_weights
from hubserve.jobs import Run
from hubserve.latency.arch_latency import CHOICE_SECONDS, NAME, sure_median
from hubserve.latency.profile_package import profile_package
from hubserve.package.add_files import add_files, add_profile
from hubserve.package.manifest import Provenance
from hubserve.package.package import MANIFEST, PROFILE, Package, read_package
from hubserve.package.runner import Batch
from hubserve.pipeline.checkpoint import read_note, write_note
from hubserve.pipeline.resolve import Parts
from hubserve.pipeline.status_writer import Report
from hubserve.pipeline.winner import Winner
from hubserve.timing import TimingProtocol
from hubserve.training.weights_file import WEIGHTS_FILE

RETRAINED, SCORES, TEST, PACKAGE, PUBLISHED = "retrained", "scores.json", "test.json", "package", "published.json"


@dataclass(frozen=True)
class Trained:
    """The winner with its weights.

    Attributes:
        model: in eval mode.
        weights: where they come from.
        scores: on the validation part.
    """

    model: nn.Module
    weights: Literal["trial", "shared", "retrained"]
    scores: dict[str, float]


@dataclass(frozen=True)
class _Told(Trial):
    """A training outside of a study, which tells how far it is."""

    told: Callable[[int, float], None] = lambda epoch, value: None

    def report(self, step: int, value: float) -> None:
        self.told(step, value)


def retrain(parts: Parts, winner: Winner, run: Run, report: Report) -> Trained:
    """The winner's network, trained from fresh weights where the job says so, else with those that the search left."""
    recipe = parts.job.retrain
    if recipe is None:
        if winner.weights is None:
            raise JobError("the search left no weights of its winner; say in the job how to retrain it")
        return Trained(load_weights(parts.space, winner.arch, winner.weights), winner.kind, winner.scores)
    folder = run.path / RETRAINED
    scores = read_note(folder / SCORES)
    if scores is None:
        report.phase("retrain", f"training the winner for {recipe.epochs} epochs")

        def told(epoch: int, value: float) -> None:
            report.say(f"epoch {epoch + 1} of {recipe.epochs}: val_acc {value:.4f}", done=(epoch + 1) / recipe.epochs)

        trial = _Told(seed=parts.job.seed, folder=folder, told=told)
        scores = parts.evaluator(recipe).evaluate(parts.space, winner.arch, trial)
        write_note(folder / SCORES, scores)
    return Trained(load_weights(parts.space, winner.arch, folder / WEIGHTS_FILE), "retrained", scores)


def judge(parts: Parts, trained: Trained, run: Run) -> float:
    """Accuracy, in [0, 1], on the test part, which nobody has looked at before; once per job."""
    noted = read_note(run.path / TEST)
    if noted is None:
        recipe = parts.job.retrain or parts.job.recipe
        noted = {"test_acc": parts.evaluator(recipe, judge=parts.data.test).validate(trained.model)["val_acc"]}
        write_note(run.path / TEST, noted)
    return float(noted["test_acc"])


def export(parts: Parts, winner: Winner, trained: Trained, run: Run, report: Report) -> Package:
    """The package in the run folder, with parity proven on made-up and on real pictures."""
    folder = run.path / PACKAGE
    if (folder / MANIFEST).is_file():
        return read_package(folder)
    test_acc = judge(parts, trained, run)
    report.phase("export", f"exporting; test accuracy {test_acc:.4f}")
    source = ModelSource(
        name=parts.job.store_name,
        model=trained.model,
        space=type(parts.space).__name__,
        settings=parts.settings,
        arch=winner.arch,
        preprocess=parts.data.preprocess,
        labels=parts.data.labels,
        provenance=provenance(parts, winner, trained, test_acc, run),
    )
    formats = parts.job.publish.formats if parts.job.publish is not None else ("onnx", "torchscript")
    return write_package(source, folder, formats=formats, images=_pictures(parts))


def provenance(parts: Parts, winner: Winner, trained: Trained, test_acc: float, run: Run) -> Provenance:
    """Where the model came from, for its manifest."""
    job = parts.job
    search: dict[str, Any] = {
        "job": job.name,
        "run": run.id,
        "study": run.id,
        "trial": winner.number,
        "trials": run.written_status().trials,
        "strategy": job.strategy.model_dump(exclude_none=True),
        "seed": job.seed,
        "data": job.data.model_dump(mode="json", exclude_none=True),
        "scores": dict(winner.scores),
        "split": "validation",
        "constraints": parts.limits,
        "weights": trained.weights,
        "val_acc": trained.scores["val_acc"],
        "test_acc": test_acc,
        "test_pictures": len(parts.data.test),  # type: ignore[arg-type]
    }
    metric = Metric(dataset=f"{parts.data.name} (test)", top1=round(100 * test_acc, 4))
    return Provenance(origin="search", paper=parts.space.paper, metric=metric, weights=trained.weights, search=search)


def profile(parts: Parts, package: Package, report: Report) -> Package:
    """The package with its latency in it."""
    if PROFILE in package.manifest.files:
        return package
    report.phase("profile", "measuring latency")
    latency = parts.job.latency
    seconds = parts.job.publish.profile_seconds if parts.job.publish is not None else 10.0
    found = profile_package(
        package, batch_size=latency.batch_size, threads=latency.threads, protocol=TimingProtocol(max_seconds=seconds)
    )
    return add_profile(package, found.model_dump_json(indent=2) + "\n")


def illustrate(package: Package, pictures: list[Path]) -> Package:
    """The package with pictures of the search in it: search-NAME.svg."""
    files = {f"search-{path.name}": path.read_bytes() for path in pictures}
    return add_files(package, files) if files and not set(files) <= set(package.manifest.files) else package


def publish(parts: Parts, package: Package, run: Run, report: Report) -> str | None:
    """The tag in the store; None where the job publishes nothing. Publishing again gives the same tag.

    Raises:
        NothingFeasibleError: the package takes longer than the constraint allows, measured once more.
    """
    noted = read_note(run.path / PUBLISHED)
    if noted is not None:
        return str(noted["tag"])
    if parts.job.publish is None:
        return None
    report.phase("publish", "publishing")
    _hold_to_latency(parts, package)
    tag = store.publish(package.path, name=parts.job.store_name).tag
    write_note(run.path / PUBLISHED, {"tag": tag})
    return tag


def _hold_to_latency(parts: Parts, package: Package) -> None:
    limit = parts.limits.get(NAME)
    if limit is None:
        return
    threads = parts.job.latency.threads
    found = sure_median(parts.latency(CHOICE_SECONDS).time(lambda: package.runner("onnx", threads=threads)))
    if found > limit:
        raise NothingFeasibleError(
            f"the winner takes {found:.3g} ms, and latency_ms <= {limit:g} is asked for. It met that when it was chosen, so "
            "the machine is busier now; `hubserve search --run` measures again. Nothing was published"
        )


def _pictures(parts: Parts) -> list[Batch]:
    """Two batches of real pictures to compare the exported forms on."""
    batches = islice(parts.evaluator(parts.job.recipe).val_batches(), 2)
    return [np.ascontiguousarray(inputs[:16].numpy()) for inputs, _ in batches]
