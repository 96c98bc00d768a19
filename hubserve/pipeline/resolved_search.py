"""`ResolvedSearch`: a search job together with its space, data, strategies, evaluators and latency table."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from hubserve.benchmarks.zero_cost import ZeroCostMeasure, draw_batch
from hubserve.data.labelled_data import LabelledData
from hubserve.data.loaders import MORE_SHARED_MEMORY
from hubserve.data.scan import Scan
from hubserve.evaluator import Classification, Evaluator, Objective
from hubserve.experiment import Constraint
from hubserve.experiment.constraints import Measure
from hubserve.hub import HubSpace
from hubserve.hub.registry import space_name
from hubserve.jobs import Recipe, SearchJob
from hubserve.latency.arch_latency import PredictedLatency
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.pipeline.evaluators import make_evaluator
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.strategies import Searchers
from hubserve.preprocess import Preprocess
from hubserve.usable_resources import free_shared_memory

PREPARED_BATCHES = 2
"""Number of batches that each process of a DataLoader holds ready, the default of its `prefetch_factor`."""


@dataclass(frozen=True, kw_only=True)
class ResolvedSearch(ResolvedJob):
    """A search job with the objects that its definition names, as `hubserve.pipeline.resolve_job` returns it.

    Attributes:
        job: The definition.
        space: The model space, with as many classes as the data have.
        settings: Arguments of the space's class, the number of classes included.
        data: The loaded data set.
        searchers: The strategies.
        table: Latency table that predicts latencies during the search; None if the job names none.
        earlier: Files or folders of the studies whose trials are added before the first trial.
    """

    job: SearchJob
    space: HubSpace
    settings: Mapping[str, Any]
    data: LabelledData
    searchers: Searchers
    table: LatencyTable | None = None
    earlier: tuple[Path, ...] = ()

    @property
    def preprocess(self) -> Preprocess | None:
        """The preprocessing of the images; None if the data are no images."""
        return self.data.preprocess

    @property
    def scan(self) -> Scan | None:
        """What was found in the user's files; None for data sets that are known by name."""
        return self.data.scan

    @property
    def notes(self) -> list[str]:
        """Sentences about what the job leaves out, and about its data."""
        return [*super().notes, *(self.scan.notes if self.scan else ()), *self._shared_memory_notes()]

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
    def recipe_evaluator(self) -> Classification:
        """The evaluator that trains trials, or the supernet, with `recipe` and scores them on the validation part."""
        return self._evaluator(self.job.recipe, self.data.val)

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
    def retrain_evaluator(self) -> Classification | None:
        """The evaluator that trains the winner with `retrain` and scores it on the validation part; None without `retrain`."""
        return None if self.job.retrain is None else self._evaluator(self.job.retrain, self.data.val)

    @cached_property
    def test_evaluator(self) -> Classification:
        """The evaluator that scores the winner on the test part."""
        return self._evaluator(self.job.retrain or self.job.recipe, self.data.test)

    def _evaluator(self, recipe: Recipe, scored: Dataset[Any]) -> Classification:
        workers = self.job.data.workers
        return Classification(
            train_dataloaders=_loader(self.data.train, recipe.batch_size, workers, shuffle=True),
            val_dataloaders=_loader(scored, recipe.batch_size, workers, shuffle=False),
            num_classes=len(self.data.labels),
            max_epochs=recipe.epochs,
            gradient_clip_val=recipe.gradient_clip,
            **recipe.model_dump(exclude={"epochs", "gradient_clip", "start"}),
        )

    def facts(self) -> dict[str, Any]:
        """Returns the lines that `hubserve search JOB --check` prints, by name; None for a line that is not printed."""
        counts = [len(part) for part in (self.data.train, self.data.val, self.data.test)]  # type: ignore[arg-type]
        then = self.job.strategy.then
        return {
            "space": f"{space_name(self.space)} with {self.space.count():,} archs",
            "data": f"{self.data.name}: {' / '.join(f'{n:,}' for n in counts)} {self.data.noun}s to train, validate, test",
            "classes": len(self.data.labels),
            **(self.scan.facts() if self.scan else {}),
            "input_size": self.input_size or None,
            "tokens": self._token_fact(),
            "strategy": self.job.strategy.name + (f", then {then.name}" if then else ""),
            "evaluator": None if self.job.evaluator is None else self.job.evaluator.name,
            "objectives": ", ".join(f"{direction} {name}" for name, direction in self.job.objectives.items()),
            "constraints": ", ".join(map(str, self.constraints)) or None,
            "zero_cost_filter": self._filter_fact(),
            "latency": self._latency_fact(),
            "published_as": self.job.store_name if self.job.publish else None,
            "notes": "; ".join(self.notes) or None,
        }

    def _shared_memory_notes(self) -> list[str]:
        """Returns a list with a sentence if the batches that the reading processes prepare may not fit into /dev/shm."""
        readers = self.job.data.workers * self.job.executor.workers
        batch_size = max(recipe.batch_size for recipe in (self.job.recipe, self.job.retrain) if recipe is not None)
        needed = readers * PREPARED_BATCHES * batch_size * 3 * self.input_size**2 * 4
        free = free_shared_memory()
        if free is None or needed <= free:
            return []
        return [
            f"data.workers = {self.job.data.workers}: the images that {readers} processes hold ready take up to "
            f"{needed / 1e6:,.0f} MB of shared memory, and /dev/shm has {free / 1e6:,.0f} MB left. {MORE_SHARED_MEMORY}"
        ]

    def _token_fact(self) -> str | None:
        found = self.data.space_settings
        if self.data.tokenizer is None:
            return None
        return f"{found.get('vocab_size', 0):,} in the vocabulary, at most {found.get('max_length', 0)} of a text"

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


def _loader(data: Dataset[Any], batch_size: int, workers: int, *, shuffle: bool) -> Dataset[Any] | DataLoader[Any]:
    """The data set itself if this process reads the images; evaluators load it batch by batch."""
    if workers == 0:
        return data
    # Not persistent_workers: evaluators make a new loader, with an order of its own, for each pass.
    return DataLoader(data, batch_size, shuffle=shuffle, num_workers=workers)
