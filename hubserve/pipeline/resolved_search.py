"""`ResolvedSearch`: a search job together with its space, data, strategies, evaluators and latency table."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hubserve.benchmarks.zero_cost import ZeroCostMeasure, draw_batch
from hubserve.data.scan import Scan
from hubserve.data.search_data import SearchData
from hubserve.evaluator import Evaluator, Objective
from hubserve.experiment import Constraint
from hubserve.experiment.constraints import Measure
from hubserve.hub import HubSpace
from hubserve.hub.registry import space_name
from hubserve.jobs import SearchJob
from hubserve.latency.arch_latency import PredictedLatency
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.pipeline.evaluators import make_evaluator
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.strategies import Searchers
from hubserve.pipeline.tasks.find_task import find_task
from hubserve.pipeline.tasks.search_task import SearchTask
from hubserve.preprocess import Preprocess
from hubserve.training.supervised import SupervisedEvaluator


@dataclass(frozen=True, kw_only=True)
class ResolvedSearch(ResolvedJob):
    """A search job with the objects that its definition names, as `hubserve.pipeline.resolve_job` returns it.

    Attributes:
        job: The definition.
        space: The model space, made for the data.
        settings: Arguments of the space's class, those that the data determine included, such as the number of classes.
        data: The loaded data set.
        searchers: The strategies.
        table: Latency table that predicts latencies during the search; None if the job names none.
        earlier: Files or folders of the studies whose trials are added before the first trial.
    """

    job: SearchJob
    space: HubSpace
    settings: Mapping[str, Any]
    data: SearchData
    searchers: Searchers
    table: LatencyTable | None = None
    earlier: tuple[Path, ...] = ()

    @cached_property
    def task(self) -> SearchTask:
        """What the search does with data of this kind."""
        return find_task(self.data)

    @property
    def preprocess(self) -> Preprocess | None:
        """The preprocessing of the images; None for other inputs."""
        return self.task.preprocess

    @property
    def scan(self) -> Scan | None:
        """What was found in the user's files; None for data sets that are known by name."""
        return self.task.scan

    @property
    def notes(self) -> list[str]:
        """Sentences about what the job leaves out, and about its data."""
        return [*super().notes, *self.task.notes(self.job)]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """The objectives of the search; by the first one the winner is chosen."""
        return tuple(Objective(name, direction) for name, direction in self.job.objectives.items())

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """The constraints of the search."""
        return tuple(Constraint(name, "<=", bound) for name, bound in self.job.limits.items())

    @property
    def max_trials(self) -> int | None:
        """The number of trials after which the search ends; None if there is no limit."""
        if self.searchers.shares_weights and self.searchers.then is None:
            return None
        return self.limits.trials if self.job.budget.trials is None else self.job.budget.trials

    @property
    def search_latency(self) -> Measure:
        """The measure of an arch's latency during the search: predicted if the job names a latency table, else measured."""
        return self.latency() if self.table is None else PredictedLatency(self.table)

    @cached_property
    def recipe_evaluator(self) -> SupervisedEvaluator:
        """The evaluator that trains trials, or the supernet, with `recipe` and scores them on the validation part."""
        return self.task.evaluator(self.job.recipe, self.data.val, workers=self.job.data.workers)

    @cached_property
    def search_evaluator(self) -> Evaluator:
        """The evaluator of the search: the one that the job names, or else `recipe_evaluator`.

        Raises:
            JobError: The one that the job names cannot be made.
        """
        return self.recipe_evaluator if self.job.evaluator is None else make_evaluator(self.job, self.data)

    @cached_property
    def filter_measure(self) -> ZeroCostMeasure | None:
        """The measure of the job's filter, whose batch is drawn from the training part; None without a filter."""
        entry, seed = self.job.zero_cost_filter, self.job.seed
        if entry is None:
            return None
        return ZeroCostMeasure(draw_batch(self.data.train, entry.images, seed=seed), (entry.score,), seed=seed)

    @cached_property
    def retrain_evaluator(self) -> SupervisedEvaluator | None:
        """The evaluator that trains the winner with `retrain` and scores it on the validation part; None without `retrain`."""
        if self.job.retrain is None:
            return None
        return self.task.evaluator(self.job.retrain, self.data.val, workers=self.job.data.workers)

    @cached_property
    def test_evaluator(self) -> SupervisedEvaluator:
        """The evaluator that scores the winner on the test part."""
        return self.task.evaluator(self.job.retrain or self.job.recipe, self.data.test, workers=self.job.data.workers)

    def facts(self) -> dict[str, Any]:
        """Returns the lines that `hubserve search JOB --check` prints, by name; None for a line that is not printed."""
        then = self.job.strategy.then
        return {
            "space": f"{space_name(self.space)} with {self.space.count():,} archs",
            **self.task.facts(),
            "strategy": self.job.strategy.name + (f", then {then.name}" if then else ""),
            "evaluator": None if self.job.evaluator is None else self.job.evaluator.name,
            "objectives": ", ".join(f"{direction} {name}" for name, direction in self.job.objectives.items()),
            "constraints": ", ".join(map(str, self.constraints)) or None,
            "zero_cost_filter": self._filter_fact(),
            "latency": self._latency_fact(),
            "published_as": self.job.store_name if self.job.publish else None,
            "notes": "; ".join(self.notes) or None,
        }

    def _filter_fact(self) -> str | None:
        entry = self.job.zero_cost_filter
        if entry is None:
            return None
        return f"{entry.score} not below the quantile {entry.quantile:g} of {entry.archs} random archs"

    def _latency_fact(self) -> str | None:
        if self.table is None:
            return None
        error = self.table.error
        known = "" if error is None else f", {error.within_10:.0%} of {error.networks} networks within 10 %"
        difference = self.table.difference_to_host()
        where = f"built on {self.table.host.cpu}" if difference is None else f"which was {difference}: build one here"
        return f"predicted by {self.job.latency.table}, {where}{known}; the winner is measured"
