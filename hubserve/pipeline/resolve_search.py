"""`resolve_search`: makes the space, strategies, data and latency table that the definition of a search job names."""

from pathlib import Path
from random import Random

import torch
from torch import nn

from hubserve.data.named_datasets import load_search_data
from hubserve.data.own_images import PLAIN, Reading
from hubserve.data.search_data import SearchData
from hubserve.errors import DatasetError, EvaluatorError, JobError, ProfileError, StrategyError
from hubserve.evaluator import ZeroCost
from hubserve.hub import HubSpace
from hubserve.jobs import TABLE_BYTES, UNLIMITED, JobLimits, SearchJob
from hubserve.latency.arch_latency import NAME
from hubserve.latency.lengths import space_lengths
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.latency.tables.limit_check import feasibility
from hubserve.pipeline.check_definition import check_search, make_space
from hubserve.pipeline.data_place import data_place, within
from hubserve.pipeline.earlier_searches import earlier_searches
from hubserve.pipeline.resolved_search import ResolvedSearch
from hubserve.pipeline.tasks.find_task import find_task
from hubserve.pipeline.tasks.search_task import SearchTask
from hubserve.strategy import OneShotStrategy
from hubserve.training.device import OneDevice, check_gpus, device_kind
from hubserve.training.distributed import check_devices
from hubserve.training.evaluator import TrainingEvaluator
from hubserve.training.supervised import set_drop_path


def resolve_search(job: SearchJob, *, where: Path, limits: JobLimits = UNLIMITED, reading: Reading = PLAIN) -> ResolvedSearch:
    """Makes and checks the objects that a search job names; arguments and errors are those of `resolve_job`."""
    searchers = check_search(job, limits)
    data = _load_data(job, where, limits, reading)
    task = find_task(data)
    task.check_job(job)
    settings = task.space_settings() | job.space.settings
    # `check_search` made the space without what the data determine, to find wrong settings before the data are loaded.
    space = make_space(job, settings)
    task.check_space(job, space)
    table = _load_table(job, space, task, where, limits)
    begins_with = task.scan if reading.pinned is None else None
    earlier = earlier_searches(job, space, where=where, limits=limits, begins_with=begins_with)
    resolved = ResolvedSearch(
        job=job, space=space, settings=settings, data=data, searchers=searchers, table=table, limits=limits, earlier=earlier
    )
    _check_recipes(resolved)
    _check_zero_cost(resolved)
    return resolved


def _load_data(job: SearchJob, where: Path, limits: JobLimits, reading: Reading) -> SearchData:
    place = data_place(job.data, where, limits)
    try:
        return load_search_data(job.data.name, place, reading=within(reading, limits), **job.data.settings)
    except (DatasetError, TypeError) as error:
        raise JobError(f"data: {error}") from error


def _check_recipes(resolved: ResolvedSearch) -> None:
    for key, evaluator in (("recipe", resolved.recipe_evaluator), ("retrain", resolved.retrain_evaluator)):
        if evaluator is None:
            continue
        try:
            OneDevice(evaluator.settings)
            if key == "recipe":
                check_gpus(evaluator.settings.n_devices, device_kind(evaluator.settings.accelerator))
                _check_search_evaluator(resolved)
            else:
                check_devices(evaluator.settings)
            if evaluator.settings.drop_path_prob > 0:
                set_drop_path(_meta_network(resolved.space), 0.0)
        except (EvaluatorError, StrategyError) as error:
            raise JobError(f"{key}: {error}") from error


def _check_search_evaluator(resolved: ResolvedSearch) -> None:
    """Makes the evaluator of the search, and raises StrategyError if it cannot train the shared weights that are asked for."""
    evaluator, strategy = resolved.search_evaluator, resolved.searchers.first
    if isinstance(strategy, OneShotStrategy) and isinstance(evaluator, TrainingEvaluator):
        strategy.shared_training(evaluator)


def _check_zero_cost(resolved: ResolvedSearch) -> None:
    """Scores a random arch, and raises `JobError` if a zero-cost score that the job names is not defined for it."""
    evaluator = resolved.search_evaluator
    measures = {
        "evaluator": evaluator.measure if isinstance(evaluator, ZeroCost) else None,
        "zero_cost_filter": resolved.filter_measure,
    }
    for key, measure in measures.items():
        if measure is None:
            continue
        try:
            measure(resolved.space, resolved.space.random(Random(resolved.job.seed)))
        except EvaluatorError as error:
            raise JobError(f"{key}: {error}") from error


def _load_table(job: SearchJob, space: HubSpace, task: SearchTask, where: Path, limits: JobLimits) -> LatencyTable | None:
    """Checks the lengths under `latency`, and returns the latency table that the job names; None if it names none.

    Raises:
        JobError: A length is not allowed; or the table cannot be read, does not match the job, or was built on this machine and
            shows that no network meets the latency constraint. A table of another machine is not used for this last check.
    """
    entry, limit = job.latency, job.limits.get(NAME)
    try:
        space_lengths(space, entry.lengths)
    except ProfileError as error:
        raise JobError(f"latency.lengths: {error}") from error
    if entry.table is None:
        return None
    size = None if task.preprocess is None else task.preprocess.input_size
    path = limits.reachable_file("latency.table", where / entry.table.expanduser(), max_bytes=TABLE_BYTES)
    try:
        table = LatencyTable.load(path)
        table.check_fit(path, space, input_size=size, batch_size=entry.batch_size, threads=entry.threads, lengths=entry.lengths)
        found = None if limit is None else feasibility(table, space, max_ms=limit)
    except ProfileError as error:
        raise JobError(f"latency.table: {error}") from error
    if found is not None and found.verdict == "no" and table.difference_to_host() is None:
        raise JobError(
            f"constraints: latency_ms <= {limit:g} cannot be met: the fastest network by the table is predicted at "
            f"{found.fastest_ms:.3g} ms, half of all stay below {found.quantiles[0.5]:.3g} ms; {path} was built on "
            f"{table.host.cpu}"
        )
    return table


def _meta_network(space: HubSpace) -> nn.Module:
    """Returns a random network of the space on the meta device, whose parameters have shapes but no values."""
    with torch.device("meta"):
        return space.freeze(space.random(Random(0)))
