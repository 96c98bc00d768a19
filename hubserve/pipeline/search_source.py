"""`search_source`: collects the network and the manifest entries from which a search winner's package is written."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from hubserve.cards.card import Metric
from hubserve.code_source import import_path_of, source_of_code
from hubserve.data.named_datasets import DATASET_KIND, DATASETS
from hubserve.data.names import shown
from hubserve.data.text_dataset import TextDataset
from hubserve.evaluator import FunctionalEvaluator
from hubserve.experiment.named_pruners import PRUNER_KIND, PRUNERS
from hubserve.export.model_source import ModelSource
from hubserve.hub.registry import space_name
from hubserve.jobs import Run
from hubserve.own_code import find_named
from hubserve.package.manifest import Provenance
from hubserve.package.runner import Batch
from hubserve.package.signature import ModelSignature
from hubserve.pipeline.front import front_rows
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.phases.test import LabelledParts, TestedNetwork
from hubserve.pipeline.phases.train import TrainedWinner
from hubserve.pipeline.resolved_search import ResolvedSearch


def search_source(
    resolved: ResolvedSearch, winner: Winner, trained: TrainedWinner, tested: TestedNetwork, run: Run
) -> ModelSource:
    """Returns the trained winner together with its labels, preprocessing and provenance for the package's manifest."""
    return ModelSource(
        name=resolved.job.store_name,
        model=trained.model,
        space=space_name(resolved.space),
        settings=resolved.settings,
        arch=winner.arch,
        preprocess=resolved.data.preprocess,
        labels=resolved.data.labels,
        provenance=_provenance(resolved, winner, trained, tested.test_acc, run),
        temperature=tested.temperature,
        accuracy=tested.accuracy,
        signature=None if resolved.space.takes_images else ModelSignature(resolved.space.inputs, resolved.space.outputs),
        tokenizer=resolved.data.tokenizer,
    )


def tested_parts(resolved: ResolvedSearch) -> LabelledParts:
    """Returns the validation and the test images of a search, as the test phase takes them."""
    data = resolved.data
    found = resolved.scan
    count = len(data.test)  # type: ignore[arg-type]
    return LabelledParts(
        dataset=data.name,
        labels=data.labels,
        val=resolved.recipe_evaluator.val_batches,
        test=resolved.test_evaluator.val_batches,
        files=[f"{data.noun} {i}" for i in range(count)]
        if found is None
        else [shown(i.file) for i in found.images if i.part == "test"],
    )


def comparison_images(resolved: ResolvedSearch) -> list[Batch]:
    """Returns two batches of at most 16 validation images, on which the exported formats are compared with PyTorch.

    For data that are no images, there are none.
    """
    if resolved.data.preprocess is None:
        return []
    batches = islice(resolved.recipe_evaluator.val_batches(), 2)
    return [np.ascontiguousarray(inputs[:16].numpy()) for inputs, _ in batches]


def comparison_texts(resolved: ResolvedSearch) -> Sequence[str]:
    """Returns at most 32 validation texts, on which the exported formats are compared, too; none for other data."""
    return resolved.data.val.texts[:32] if isinstance(resolved.data.val, TextDataset) else ()


def own_code(resolved: ResolvedSearch) -> dict[str, Any]:
    """Returns where the strategies, pruner, data set and evaluator of a search came from, by key; without those of hubserve."""
    job, searchers = resolved.job, resolved.searchers
    evaluator = resolved.search_evaluator
    things: dict[str, Any] = {
        "strategy": type(searchers.first),
        "strategy.then": None if searchers.then is None else type(searchers.then),
        "pruner": None
        if job.pruner is None or job.pruner.name in PRUNERS
        else find_named(job.pruner.name, PRUNERS, PRUNER_KIND),
        "data": find_named(job.data.name, DATASETS, DATASET_KIND),
        "evaluator": evaluator.function if isinstance(evaluator, FunctionalEvaluator) else type(evaluator),
    }
    paths = {key: import_path_of(thing) for key, thing in things.items()}
    own = {key: path for key, path in paths.items() if path is not None and not path.startswith("hubserve.")}
    sources = {key: source_of_code(path) for key, path in own.items()}
    return {key: source.model_dump(exclude_none=True) for key, source in sources.items() if source is not None}


def _provenance(
    resolved: ResolvedSearch, winner: Winner, trained: TrainedWinner, test_acc: float | None, run: Run
) -> Provenance:
    """Returns the manifest's record of how the model was made: job, trial, scores, data and weights."""
    job, status = resolved.job, run.written_status()
    found: dict[str, Any] = {
        "job": job.name,
        "run": run.id,
        "study": run.id,
        "trial": winner.number,
        "trials": status.trials,
        "strategy": job.strategy.model_dump(exclude_none=True),
        **({} if job.pruner is None else {"pruner": job.pruner.model_dump()}),
        "seed": job.seed,
        "data": job.data.model_dump(mode="json", exclude_none=True),
        **({"data_found": resolved.scan.outline()} if resolved.scan else {}),
        **({"own_code": used} if (used := own_code(resolved)) else {}),
        **({"warm_start": list(job.warm_start)} if job.warm_start else {}),
        "scores": dict(winner.scores),
        "split": "validation",
        "constraints": job.limits,
        "pareto_front": front_rows(status),
        **({"zero_cost_filter": job.zero_cost_filter.model_dump()} if job.zero_cost_filter else {}),
        "weights": trained.weights,
        "val_acc": trained.scores.get("val_acc"),
        "test_acc": test_acc,
        "test_images": len(resolved.data.test),  # type: ignore[arg-type]
    }
    metric = None if test_acc is None else Metric(dataset=f"{resolved.data.name} (test)", top1=round(100 * test_acc, 4))
    return Provenance(origin="search", paper=resolved.space.paper, metric=metric, weights=trained.weights, search=found)
