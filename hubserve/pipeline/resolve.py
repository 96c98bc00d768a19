"""From a definition to what it names: the space, the data, the strategies and the evaluators, each held to the others."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random as Rng
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from hubserve.complexity import complexity
from hubserve.data.named_datasets import LabelledData, load_dataset
from hubserve.errors import DatasetError, EvaluatorError, HubserveError, JobError, ProfileError, SpaceError, StrategyError
from hubserve.evaluator import Classification, Objective
from hubserve.experiment import Constraint
from hubserve.experiment.constraints import Measure
from hubserve.hub import HubSpace, get_space
from hubserve.hub.registry import SPACES
from hubserve.jobs import Job, Recipe
from hubserve.latency.arch_latency import NAME, SEARCH_SECONDS, MeasuredLatency, PredictedLatency
from hubserve.latency.tables.limit_check import feasibility
from hubserve.latency.tables.table import LatencyTable
from hubserve.pipeline.strategies import MULTI_TRIAL, ONE_OBJECTIVE, Searchers, make_searchers
from hubserve.strategy.oneshot.base import shared_training
from hubserve.training.device import OneDevice
from hubserve.training.supervised import set_drop_path


@dataclass(frozen=True)
class Parts:
    """All that a job names.

    Attributes:
        job: its definition.
        space: with its settings.
        settings: of the space, the number of classes among them.
        data: that is learned.
        searchers: strategies.
        table: predicts latency during the search, where the job names one.
    """

    job: Job
    space: HubSpace
    settings: Mapping[str, Any]
    data: LabelledData
    searchers: Searchers
    table: LatencyTable | None = None

    @property
    def input_size(self) -> int:
        """Side of the pictures, in pixels."""
        return self.data.preprocess.input_size

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Of the search."""
        return tuple(Objective(name, direction) for name, direction in self.job.objectives.items())

    @property
    def constraints(self) -> tuple[Constraint, ...]:
        """Of the search."""
        return tuple(Constraint(name, "<=", most) for name, most in self.limits.items())

    @property
    def limits(self) -> dict[str, float]:
        """Constraint -> at most this much."""
        return {str(name): most for name, most in self.job.constraints.items()}

    @property
    def search_latency(self) -> Measure:
        """Of the archs of the search: predicted where the job names a table, else measured."""
        return self.latency() if self.table is None else PredictedLatency(self.table)

    def latency(self, seconds: float = SEARCH_SECONDS) -> MeasuredLatency:
        """Measures as the job says, for at most so long."""
        entry = self.job.latency
        return MeasuredLatency(self.input_size, entry.batch_size, entry.threads, seconds)

    def evaluator(self, recipe: Recipe, *, judge: Dataset[Any] | None = None) -> Classification:
        """Trains by `recipe`, and judges by the validation part, or another one."""
        workers = self.job.data.workers
        return Classification(
            train_dataloaders=_loader(self.data.train, recipe.batch_size, workers, shuffle=True),
            val_dataloaders=_loader(judge or self.data.val, recipe.batch_size, workers, shuffle=False),
            num_classes=len(self.data.labels),
            batch_size=recipe.batch_size,
            optimizer=recipe.optimizer,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            schedule=recipe.schedule,
            warm_up=recipe.warm_up,
            label_smoothing=recipe.label_smoothing,
            ema_decay=recipe.ema_decay,
            auxiliary_weight=recipe.auxiliary_weight,
            drop_path_prob=recipe.drop_path_prob,
            max_epochs=recipe.epochs,
            gradient_clip_val=recipe.gradient_clip,
            precision=recipe.precision,
        )

    def facts(self) -> dict[str, Any]:
        """What is worth knowing before the start."""
        parts = (self.data.train, self.data.val, self.data.test)
        return {
            "space": f"{type(self.space).__name__} with {self.space.count():,} archs",
            "data": f"{self.data.name}: {' / '.join(f'{len(part):,}' for part in parts)} pictures to train, validate, test",  # type: ignore[arg-type]
            "classes": len(self.data.labels),
            "input_size": self.input_size,
            "strategy": self.job.strategy.name + (f", then {self.job.strategy.then.name}" if self.job.strategy.then else ""),
            "objectives": ", ".join(f"{way} {name}" for name, way in self.job.objectives.items()),
            "constraints": ", ".join(map(str, self.constraints)) or None,
            "latency": self._latency_fact(),
            "published_as": self.job.store_name if self.job.publish else None,
        }

    def _latency_fact(self) -> str | None:
        if self.table is None:
            return None
        error = self.table.error
        known = "" if error is None else f", {error.within_10:.0%} of {error.networks} networks within 10 %"
        foreign = self.table.foreign()
        where = f"built on {self.table.host.cpu}" if foreign is None else f"which was {foreign}: build one here"
        return f"predicted by {self.job.latency.table}, {where}{known}; the winner is measured"


def check_job(job: Job, *, where: Path) -> Parts:
    """All that `job` names, made and held to each other; nothing is trained.

    Args:
        job: its definition.
        where: relative folders of it start here.

    Raises:
        JobError: something does not exist or does not fit; the message names the key.
    """
    check_names(job)
    data = _data(job, where)
    settings = {"num_labels": len(data.labels)} | job.space.settings if _takes_labels(job) else job.space.settings
    space = _space(job, settings)
    if space.num_labels != len(data.labels):
        raise JobError(
            f"space: {job.space.name} tells {space.num_labels} classes apart and {data.name} has {len(data.labels)}; "
            "leave num_labels out, or choose the space's dataset accordingly"
        )
    parts = Parts(job, space, settings, data, make_searchers(job.strategy, seed=job.seed))
    _check_recipes(parts)
    _check_size(parts)
    return parts if job.latency.table is None else replace(parts, table=_table(parts, where / job.latency.table.expanduser()))


def check_names(job: Job) -> None:
    """What can be told without the data. Raises JobError."""
    _space(job, job.space.settings)
    searchers = make_searchers(job.strategy, seed=job.seed)
    _check_budget(job, searchers)
    _check_executor(job, searchers)
    _check_objectives(job)


def _check_budget(job: Job, searchers: Searchers) -> None:
    if searchers.shares_weights and searchers.then is None:
        if job.budget.trials is not None:
            raise JobError(
                f"budget.trials = {job.budget.trials}: {job.strategy.name} tries no archs one by one, it trains recipe.epochs "
                "and ends in one; leave trials out"
            )
    elif job.budget.trials is None and job.budget.seconds is None:
        raise JobError("budget: give trials or seconds, or the search goes on until all archs were tried")


def _check_executor(job: Job, searchers: Searchers) -> None:
    kind = job.executor.kind
    if searchers.shares_weights and kind != "inline":
        raise JobError(
            f"executor.kind = {kind}: {job.strategy.name} trains one supernet and scores its archs, in one process; leave "
            "executor out, or choose a strategy that trains each arch, such as RegularizedEvolution"
        )
    if kind == "ray" and importlib.util.find_spec("ray") is None:
        raise JobError(
            "executor.kind = ray: Ray is not installed: pip install 'hubserve[ray]', or choose processes, or leave executor out"
        )


def _check_objectives(job: Job) -> None:
    # The one that proposes archs, which stands behind a strategy that trains a supernet.
    key, entry = ("strategy.then", job.strategy.then) if job.strategy.then is not None else ("strategy", job.strategy)
    if len(job.objectives) > 1 and entry.name in ONE_OBJECTIVE:
        raise JobError(
            f"objectives: {', '.join(job.objectives)}: {key} = {entry.name} improves one score; choose "
            f"{', '.join(sorted(set(MULTI_TRIAL) - set(ONE_OBJECTIVE)))}, or keep val_acc and hold the others under constraints"
        )


def _takes_labels(job: Job) -> bool:
    return any(field.name == "num_labels" for field in fields(SPACES[job.space.name]))  # type: ignore[arg-type]


def _space(job: Job, settings: Mapping[str, Any]) -> HubSpace:
    try:
        return get_space(job.space.name, settings)
    except SpaceError as error:
        raise JobError(f"space: {error}") from error


def _data(job: Job, where: Path) -> LabelledData:
    folder = None if job.data.folder is None else where / job.data.folder.expanduser()
    try:
        return load_dataset(job.data.name, folder, **job.data.settings)
    except (DatasetError, TypeError) as error:
        raise JobError(f"data: {error}") from error


def _check_recipes(parts: Parts) -> None:
    for key, recipe in (("recipe", parts.job.recipe), ("retrain", parts.job.retrain)):
        try:
            if recipe is not None:
                evaluator = parts.evaluator(recipe)
                OneDevice(evaluator.settings)
                if key == "recipe" and parts.searchers.shares_weights:
                    shared_training(evaluator)
                if recipe.drop_path_prob > 0:
                    set_drop_path(_some_network(parts.space), 0.0)
        except (EvaluatorError, StrategyError) as error:
            raise JobError(f"{key}: {error}") from error


def _check_size(parts: Parts) -> None:
    """Some spaces need pictures of a certain size: one arch is run, without its numbers."""
    size = parts.input_size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of operations whose work is unknown: only the shapes matter here.
            complexity(_some_network(parts.space), (3, size, size))
    except (HubserveError, RuntimeError, ValueError) as error:
        raise JobError(
            f"data: {parts.job.space.name} does not take pictures of {size} pixels: {error}; set data.settings.size"
        ) from error


def _table(parts: Parts, path: Path) -> LatencyTable:
    """The lookup table, if it fits and does not tell that the limit on latency is below the fastest network.

    Only a table of this machine can tell that: one of another may be wrong by a factor, and the winner is measured anyway.
    """
    entry, limit = parts.job.latency, parts.limits.get(NAME)
    try:
        table = LatencyTable.load(path)
        table.check_fit(path, parts.space, input_size=parts.input_size, batch_size=entry.batch_size, threads=entry.threads)
        found = None if limit is None else feasibility(table, parts.space, max_ms=limit)
    except ProfileError as error:
        raise JobError(f"latency.table: {error}") from error
    if found is not None and found.verdict == "no" and table.foreign() is None:
        raise JobError(
            f"constraints: latency_ms <= {limit:g} cannot be met: the fastest network that the table knows is predicted at "
            f"{found.fastest_ms:.3g} ms, half of all stay below {found.quantiles[0.5]:.3g} ms; {path} was built on "
            f"{table.host.cpu}"
        )
    return table


def _some_network(space: HubSpace) -> nn.Module:
    """Without numbers in its weights."""
    with torch.device("meta"):
        return space.freeze(space.random(Rng(0)))


def _loader(data: Dataset[Any], batch_size: int, workers: int, *, shuffle: bool) -> Dataset[Any] | DataLoader[Any]:
    """The data itself where this process reads it, which evaluators load batch by batch."""
    if workers == 0:
        return data
    # Not persistent_workers: evaluators make a loader anew for each pass, with an order of its own.
    return DataLoader(data, batch_size, shuffle=shuffle, num_workers=workers)
