"""`search_source`: collects the network and the manifest entries from which a search winner's package is written."""

from typing import Any

from hubserve.cards.card import Metric
from hubserve.code_source import import_path_of, source_of_code
from hubserve.data.named_datasets import DATASET_KIND, DATASETS
from hubserve.evaluator import FunctionalEvaluator
from hubserve.experiment.named_pruners import PRUNER_KIND, PRUNERS
from hubserve.export.model_source import ModelSource
from hubserve.find_named import find_named
from hubserve.hub.registry import space_name
from hubserve.jobs import Run
from hubserve.package.manifest import Provenance
from hubserve.pipeline.front import front_rows
from hubserve.pipeline.phases.choose_winner import Winner
from hubserve.pipeline.phases.test import TestedNetwork
from hubserve.pipeline.phases.train import TrainedWinner
from hubserve.pipeline.resolved_search import ResolvedSearch


def search_source(
    resolved: ResolvedSearch, winner: Winner, trained: TrainedWinner, tested: TestedNetwork, run: Run
) -> ModelSource:
    """Returns the trained winner together with its provenance and what its data determine for the package's manifest.

    Args:
        resolved: The job.
        winner: Arch and scores of the network.
        trained: The network with its final weights.
        tested: Accuracy, or other scores, and temperature of the network.
        run: Run whose id and trials are recorded in the provenance.
    """
    return ModelSource(
        name=resolved.job.store_name,
        model=trained.model,
        space=space_name(resolved.space),
        settings=resolved.settings,
        arch=winner.arch,
        provenance=_provenance(resolved, winner, trained, tested, run),
        **resolved.task.package_entries(resolved.space, tested),
    )


def own_code(resolved: ResolvedSearch) -> dict[str, Any]:
    """Returns where the strategies, pruner, data set and evaluator of a search came from, by key; without those of hubserve.

    A class that a function made has no import path of its own and is left out; the job, which the manifest holds too, names it.
    """
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
    resolved: ResolvedSearch, winner: Winner, trained: TrainedWinner, tested: TestedNetwork, run: Run
) -> Provenance:
    """Returns the manifest's record of how the model was made: job, trial, scores, data and weights."""
    job, status, test_acc = resolved.job, run.written_status(), tested.test_acc
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
        **({"data_found": found_data} if (found_data := resolved.task.found()) else {}),
        **({"own_code": used} if (used := own_code(resolved)) else {}),
        **({"warm_start": list(job.warm_start)} if job.warm_start else {}),
        "scores": dict(winner.scores),
        "split": "validation",
        "constraints": job.limits,
        "pareto_front": front_rows(status),
        **({"zero_cost_filter": job.zero_cost_filter.model_dump()} if job.zero_cost_filter else {}),
        "weights": trained.weights,
        **_figures(resolved, trained, tested),
    }
    metric = None if test_acc is None else Metric(dataset=f"{resolved.data.name} (test)", top1=round(100 * test_acc, 4))
    return Provenance(origin="search", paper=resolved.space.paper, metric=metric, weights=trained.weights, search=found)


def _figures(resolved: ResolvedSearch, trained: TrainedWinner, tested: TestedNetwork) -> dict[str, Any]:
    """Returns the scores of the trained network on the validation and the test part: accuracies, or scores by name."""
    count = {f"test_{resolved.task.items}": resolved.task.sizes[2]}
    if not tested.scores:
        return {"val_acc": trained.scores.get("val_acc"), "test_acc": tested.test_acc, **count}
    return {"trained_scores": dict(trained.scores), "test_scores": dict(tested.scores), **count}
