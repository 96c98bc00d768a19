"""The package of the trained winner: exported, and compared with PyTorch."""

from itertools import islice
from typing import Any

import numpy as np

from hubserve.cards.card import Metric
from hubserve.export.model_source import ModelSource
from hubserve.export.write_package import write_package
from hubserve.jobs import Run
from hubserve.package.manifest import Provenance
from hubserve.package.package import MANIFEST, Package, read_package
from hubserve.package.runner import Batch
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.phases.train import TrainedWinner
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.status_writer import StatusWriter

PACKAGE = "package"


def export(
    resolved: ResolvedJob, winner: Winner, trained: TrainedWinner, test_acc: float, run: Run, status: StatusWriter
) -> Package:
    """Writes the package in the run folder; its formats are compared with PyTorch on random and on validation images."""
    folder = run.path / PACKAGE
    if (folder / MANIFEST).is_file():
        return read_package(folder)
    status.begin("export", f"exporting; test accuracy {test_acc:.4f}")
    source = ModelSource(
        name=resolved.job.store_name,
        model=trained.model,
        space=type(resolved.space).__name__,
        settings=resolved.settings,
        arch=winner.arch,
        preprocess=resolved.data.preprocess,
        labels=resolved.data.labels,
        provenance=provenance(resolved, winner, trained, test_acc, run),
    )
    return write_package(source, folder, formats=resolved.formats, images=_images(resolved))


def provenance(resolved: ResolvedJob, winner: Winner, trained: TrainedWinner, test_acc: float, run: Run) -> Provenance:
    """Where the model comes from, for the package's manifest."""
    job = resolved.job
    found: dict[str, Any] = {
        "job": job.name,
        "run": run.id,
        "study": run.id,
        "trial": winner.number,
        "trials": run.written_status().trials,
        "strategy": job.strategy.model_dump(exclude_none=True),
        "seed": job.seed,
        "data": job.data.model_dump(mode="json", exclude_none=True),
        **({} if resolved.data.scan is None else {"data_found": resolved.data.scan.outline()}),
        "scores": dict(winner.scores),
        "split": "validation",
        "constraints": job.limits,
        "weights": trained.weights,
        "val_acc": trained.scores["val_acc"],
        "test_acc": test_acc,
        "test_images": len(resolved.data.test),  # type: ignore[arg-type]
    }
    metric = Metric(dataset=f"{resolved.data.name} (test)", top1=round(100 * test_acc, 4))
    return Provenance(origin="search", paper=resolved.space.paper, metric=metric, weights=trained.weights, search=found)


def _images(resolved: ResolvedJob) -> list[Batch]:
    """Two batches of validation images on which the exported formats are compared."""
    batches = islice(resolved.search_evaluator.val_batches(), 2)
    return [np.ascontiguousarray(inputs[:16].numpy()) for inputs, _ in batches]
