"""What can be checked of a job without its data: the space, the strategies, and what does not go together."""

import importlib.util
from collections.abc import Mapping
from random import Random
from typing import Any

import torch

from hubserve.data.named_datasets import check_dataset_name
from hubserve.errors import DatasetError, HubserveError, JobError, SpaceError
from hubserve.hub import HubSpace, get_space
from hubserve.jobs import UNLIMITED, Job, JobLimits, check_limits
from hubserve.jobs.definition import JobFormat, Publish
from hubserve.package.formats import unsupported_format
from hubserve.pipeline.strategies import MULTI_TRIAL, ONE_OBJECTIVE, Searchers, make_searchers
from hubserve.space.building_limit import limit_networks
from hubserve.supernet.probe_archs import largest


def check_definition(job: Job, limits: JobLimits = UNLIMITED) -> Searchers:
    """Checks a job as far as this is possible without its data and returns its strategies.

    Args:
        job: The definition.
        limits: What the job may reach and use; where its paths lead to is not checked.

    Raises:
        JobError: A name does not exist, a limit is exceeded, or settings do not go together; the message begins with the key.
    """
    check_limits(job, limits)
    with limit_networks(modules=limits.modules, parameters=limits.parameters):
        space = make_space(job, job.space.settings)
        if limits != UNLIMITED:
            check_largest(space)
    try:
        check_dataset_name(job.data.name, job.data.settings)
    except DatasetError as error:
        raise JobError(f"data: {error}") from error
    searchers = make_searchers(job.strategy, seed=job.seed)
    _check_budget(job, searchers)
    _check_executor(job, searchers)
    _check_objectives(job)
    choose_formats(job)
    return searchers


def check_largest(space: HubSpace) -> None:
    """Builds a large network of a space on the meta device, so that limits on networks apply. Raises JobError."""
    try:
        arch = next(largest(space), None) or space.random(Random(0))
        with torch.device("meta"):
            space.freeze(arch)
    except (HubserveError, TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
        raise JobError(f"space: {error}") from error


def make_space(job: Job, settings: Mapping[str, Any]) -> HubSpace:
    """The job's space with these settings. Raises JobError."""
    try:
        return get_space(job.space.name, settings)
    except SpaceError as error:
        raise JobError(f"space: {error}") from error


def choose_formats(job: Job) -> tuple[tuple[JobFormat, ...], list[str]]:
    """Formats to export, and a note for each default format that this Python does not support.

    Raises:
        JobError: The job names a format that this Python does not support.
    """
    publish = job.publish or Publish()
    reasons = {name: reason for name in publish.formats if (reason := unsupported_format(name)) is not None}
    if reasons and "formats" in publish.model_fields_set:
        name, reason = next(iter(reasons.items()))
        raise JobError(f"publish.formats: {name}: {reason}; leave it out")
    chosen = tuple(name for name in publish.formats if name not in reasons)
    return chosen, [f"{name} is not exported: {reason}" for name, reason in reasons.items()]


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
    # The strategy that proposes archs comes second where the first one trains a supernet.
    key, entry = ("strategy.then", job.strategy.then) if job.strategy.then is not None else ("strategy", job.strategy)
    if len(job.objectives) > 1 and entry.name in ONE_OBJECTIVE:
        raise JobError(
            f"objectives: {', '.join(job.objectives)}: {key} = {entry.name} improves one score; choose "
            f"{', '.join(sorted(set(MULTI_TRIAL) - set(ONE_OBJECTIVE)))}, or keep val_acc and hold the others under constraints"
        )
