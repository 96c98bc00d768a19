"""Checks of a job definition that need no data: names, limits, and settings that exclude each other."""

import importlib.util
from collections.abc import Mapping
from random import Random
from typing import Any

import torch

from hubserve.data.named_datasets import OWN_IMAGES, dataset_settings
from hubserve.errors import AliasError, DatasetError, HubserveError, JobError, ModelNotFoundError, PackageError, SpaceError
from hubserve.export.named_package import unknown_model
from hubserve.export.named_source import model_exists
from hubserve.hub import HubSpace, get_space
from hubserve.jobs import UNLIMITED, FineTuneJob, Job, JobLimits, SearchJob, ShrinkJob, check_limits
from hubserve.pipeline.baselines import hand_made
from hubserve.pipeline.evaluators import check_evaluator
from hubserve.pipeline.image_parts import scan_settings
from hubserve.pipeline.job_formats import choose_formats
from hubserve.pipeline.pruners import check_pruner
from hubserve.pipeline.strategies import Searchers, make_searchers, multi_trial
from hubserve.space.building_limit import limit_networks
from hubserve.strategy import Strategy
from hubserve.strategy.named_strategies import MULTI_TRIAL, ONE_OBJECTIVE, ONE_SHOT
from hubserve.supernet.probe_archs import largest

MOST_LETTERS = 63
"""Largest number of characters of a name in the model store, see `hubserve.jobs.definition.StoreName`."""


def check_definition(job: Job, limits: JobLimits = UNLIMITED) -> None:
    """Checks a job as far as this is possible without its data.

    Args:
        job: The definition.
        limits: Limits on what the job may use; the paths in the definition are not checked against them.

    Raises:
        JobError: A name does not exist, code of the user's own cannot be imported or may not be, a value is not allowed, a
            limit is exceeded, or settings do not go together; the message begins with the key.
    """
    if isinstance(job, SearchJob):
        check_search(job, limits)
    elif isinstance(job, FineTuneJob):
        check_fine_tuning(job, limits)
    if isinstance(job, ShrinkJob):
        make_strategy(job, refused=limits.refused_code)


def check_fine_tuning(job: FineTuneJob, limits: JobLimits = UNLIMITED) -> None:
    """Checks the definition of a fine-tuning; arguments and errors are those of `check_definition`.

    The model to start from must exist, but it is not loaded, so whether it can be rebuilt is not checked.
    """
    check_limits(job, limits)
    if job.data.name not in OWN_IMAGES:
        raise JobError(f"data.name = {job.data.name}: a model is fine-tuned on image files; choose {', '.join(OWN_IMAGES)}")
    try:
        exists = model_exists(job.start.model)
    except (PackageError, ModelNotFoundError, AliasError) as error:  # The place of a package, or an alias of a deleted version.
        raise JobError(f"start.model: {error}") from error
    if not exists:
        raise JobError(f"start.model: {unknown_model(job.start.model)}")
    scan_settings(job)
    choose_formats(job)


def make_strategy(job: ShrinkJob, *, refused: str | None = None) -> Strategy:
    """Returns the strategy of a search for a smaller network.

    Args:
        job: The definition.
        refused: Reason for which no strategy of the user's own is imported, for the message; None imports it.

    Raises:
        JobError: The strategy trains shared weights, does not exist, or cannot be imported or may not be; or an argument is
            unknown or not valid.
    """
    if job.strategy.name in ONE_SHOT:
        raise JobError(
            f"strategy.name = {job.strategy.name}: the shared weights begin as those of the model under start, and are trained "
            f"by the recipe; name a strategy that searches among them: {', '.join(MULTI_TRIAL)}"
        )
    return multi_trial(job.strategy, key="strategy", seed=job.seed, refused=refused)


def check_search(job: SearchJob, limits: JobLimits = UNLIMITED) -> Searchers:
    """Checks the definition of a search and returns its strategies; arguments and errors are those of `check_definition`.

    With limits, a large network of the space is built on the meta device, to check it against them.
    """
    check_limits(job, limits)
    with limit_networks(modules=limits.modules, parameters=limits.parameters):
        space = make_space(job, job.space.settings, refused=limits.refused_code)
        if limits != UNLIMITED:
            check_largest(space)
    try:
        dataset_settings(job.data.name, job.data.settings, refused=limits.refused_code)
    except DatasetError as error:
        raise JobError(f"data: {error}") from error
    searchers = make_searchers(job.strategy, seed=job.seed, refused=limits.refused_code)
    check_evaluator(job, searchers, refused=limits.refused_code)
    if job.zero_cost_filter is not None and searchers.shares_weights:
        raise JobError(
            f"zero_cost_filter: {job.strategy.name} trains shared weights, so no training of an arch is saved; leave it out, "
            "or choose a strategy that trains each arch, such as RegularizedEvolution"
        )
    if job.warm_start and searchers.shares_weights:
        raise JobError(f"warm_start: {job.strategy.name} scores archs with the weights that it trains; leave it out")
    check_pruner(job, searchers, refused=limits.refused_code)
    _check_budget(job, searchers)
    _check_executor(job, searchers)
    _check_devices(job, searchers)
    _check_objectives(job, searchers)
    _check_front(job, searchers)
    hand_made(job, space)
    choose_formats(job)
    return searchers


def check_largest(space: HubSpace) -> None:
    """Builds a large network of a space on the meta device, so that a limit on networks is exceeded here and not later.

    It is called in the block of `limit_networks`. If the space refuses each large arch that is tried, a random one is built.

    Raises:
        JobError: The network cannot be built, or exceeds a limit.
    """
    try:
        arch = next(largest(space), None) or space.random(Random(0))
        with torch.device("meta"):
            space.freeze(arch)
    except (HubserveError, TypeError, ValueError, RuntimeError, OverflowError, RecursionError) as error:
        raise JobError(f"space: {error}") from error


def make_space(job: SearchJob, settings: Mapping[str, Any], *, refused: str | None = None) -> HubSpace:
    """Returns the job's model space, made with `settings`.

    Args:
        job: The definition.
        settings: Arguments of the space, by name.
        refused: Reason for which no space of the user's own is imported, for the message; None imports it.

    Raises:
        JobError: The space does not exist, cannot be imported or may not be, or a setting is not valid.
    """
    try:
        return get_space(job.space.name, settings, refused=refused)
    except SpaceError as error:
        raise JobError(f"space: {error}") from error


def _check_budget(job: SearchJob, searchers: Searchers) -> None:
    if searchers.shares_weights and searchers.then is None:
        if job.budget.trials is not None:
            raise JobError(
                f"budget.trials = {job.budget.trials}: {job.strategy.name} tries no archs one by one, it trains recipe.epochs "
                "and ends in one; leave trials out"
            )
    elif job.budget.trials is None and job.budget.seconds is None:
        raise JobError("budget: give trials or seconds, or the search goes on until all archs were tried")


def _check_executor(job: SearchJob, searchers: Searchers) -> None:
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


def _check_devices(job: SearchJob, searchers: Searchers) -> None:
    """Raises JobError if `recipe.devices` is above 1, and what is trained by the recipe is not trained by several processes."""
    devices, first = job.recipe.devices, searchers.first
    key, also = f"recipe.devices = {devices}", "retrain.devices trains the winner on several"
    if devices == 1 or job.evaluator is not None:
        return
    if isinstance(first, Strategy):
        raise JobError(
            f"{key}: {job.strategy.name} trains the network of each trial on one device; leave it out. "
            f"executor: {{kind: processes, workers: {devices}}} runs {devices} trials at the same time, and {also}"
        )
    if "devices" not in first.supports:
        raise JobError(
            f"{key}: {job.strategy.name} trains its supernet on one device; RandomOneShot follows devices, and {also}"
        )


def _check_objectives(job: SearchJob, searchers: Searchers) -> None:
    # `strategy.then` proposes the archs if `strategy` only trains a supernet.
    key, entry = ("strategy.then", job.strategy.then) if job.strategy.then is not None else ("strategy", job.strategy)
    searcher = searchers.then or searchers.first
    first = next(iter(job.objectives))
    if len(job.objectives) > 1 and isinstance(searcher, Strategy) and searcher.one_objective:
        raise JobError(
            f"objectives: {', '.join(job.objectives)}: {key} = {entry.name} improves one score; choose "
            f"{', '.join(sorted(set(MULTI_TRIAL) - set(ONE_OBJECTIVE)))}, or keep {first} and hold the others under constraints"
        )


def _check_front(job: SearchJob, searchers: Searchers) -> None:
    if job.publish is None or job.publish.front == 1:
        return
    key = f"publish.front = {job.publish.front}"
    if searchers.shares_weights and searchers.then is None:
        raise JobError(f"{key}: {job.strategy.name} ends in one arch; leave it out, or choose a strategy with trials")
    if len(job.objectives) == 1 and not job.constraints:
        raise JobError(
            f"{key}: a front has a score and a cost, and this search measures none; give objectives: [val_acc, latency_ms], or "
            "a constraint on latency_ms, macs or params"
        )
    longest = f"{job.store_name}-front-{job.publish.front - 1}"
    if len(longest) > MOST_LETTERS:
        raise JobError(f"{key}: the name {longest} has {len(longest)} characters, and {MOST_LETTERS} are allowed")
