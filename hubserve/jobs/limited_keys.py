"""Checks a job that was submitted over HTTP against `JobLimits`. Each key of a job has a rule here; a test requires it."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hubserve.errors import JobError
from hubserve.find_named import is_import_path
from hubserve.jobs.definition import Job
from hubserve.jobs.fine_tune_job import FineTuneJob
from hubserve.jobs.fine_tune_recipe import Augmentation
from hubserve.jobs.limited_values import MAX_TEXT, at_most, image_sizes, too_large
from hubserve.jobs.limits import JobLimits
from hubserve.jobs.search_job import SearchJob
from hubserve.jobs.shrink_job import ShrinkJob

Rule = Callable[[Any, JobLimits, Job], str | None]
"""Function (value of a key, limits, the whole job) that returns what is wrong with the value; None if nothing is.

If `limits.roots` is None, as for jobs from the command line, the rules of texts, names, paths and mappings return None."""

MAX_SUMMARY = 2000
"""Largest number of characters of the summary of a job over HTTP."""

MAX_LENGTH = 4096
"""Largest length of an axis of inputs with which a job over HTTP may measure latency."""

TABLE_BYTES = 100_000_000
"""Largest latency table, in bytes, that a job over HTTP may use."""

LISTING_BYTES = 200_000_000
"""Largest listing of images, in bytes, that a job over HTTP may use."""


def check_limits(job: Job, limits: JobLimits) -> None:
    """Checks the values of all keys of a job against limits. Whether its paths are allowed is checked by `check_paths`.

    Raises:
        JobError: A value is not allowed; the message begins with the key.
    """
    rules = RULES[type(job)]
    for key, value in given_keys(job):
        problem = rules[key](value, limits, job)
        if problem is not None:
            raise JobError(f"{key}: {problem}")


def check_paths(job: Job, limits: JobLimits, where: Path) -> None:
    """Checks that the folders and files that a job names lie in `limits.roots`. Whether they exist is not checked.

    Args:
        job: The job.
        limits: Limits of the job. Without `roots`, all paths are allowed.
        where: Folder in which relative paths of the job start.

    Raises:
        JobError: A path is not in one of `limits.roots`; the message is the same whether it exists or not.
    """
    if job.data.folder is not None:
        limits.reachable("data.folder", where / job.data.folder)
    if job.data.file is not None:
        limits.reachable("data.file", where / job.data.file)
    if job.latency.table is not None:
        limits.reachable("latency.table", where / job.latency.table)


def given_keys(record: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields (key, value) of all keys of a job that are not None; nested keys are like "data.folder", after `prefix`."""
    for name in type(record).model_fields:
        value = getattr(record, name)
        if isinstance(value, BaseModel):
            yield from given_keys(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def _free(value: Any, limits: JobLimits, job: Job) -> None:
    """Returns None: the type of such a key allows only harmless values, such as a number in a range or one of a few names."""


def _timed(value: Any, limits: JobLimits, job: Job) -> None:
    """Returns None: such a number can only make a job take longer, and a job is killed when its time is over."""


def _summary(value: str, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if the summary is longer than `MAX_SUMMARY`, else None."""
    too_long = limits.roots is not None and len(value) > MAX_SUMMARY
    return f"{len(value)} characters, and {MAX_SUMMARY} are allowed" if too_long else None


def _name(value: str, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if the name of a class or data set is not allowed, else None.

    An import path is allowed only if `limits.refused_code` is None, because importing a module runs its code.
    """
    if limits.roots is None or re.fullmatch(r"[A-Za-z0-9_-]{1,60}", value):
        return None
    if is_import_path(value) and len(value) <= MAX_TEXT:
        return limits.refused_code and f"{value[:60]!r} is an import path, and {limits.refused_code}"
    return f"{value[:60]!r} is neither a name nor an import path; over HTTP no files can be given"


def _values(value: Mapping[str, Any], limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if settings or arguments are not allowed, else None.

    The type and size of each value are checked, and lengths in pixels against `limits.image_size`. The size of the network that
    a space makes of them is limited when it is built.
    """
    if limits.roots is None:
        return None
    return too_large(value, 0) or image_sizes(value, limits)


def _workers(value: int, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if the job would start more processes than are allowed, else None.

    The value is a number of processes that evaluate trials or train together. Each starts `data.workers` processes that read
    images.
    """
    readers = max(1, job.data.workers)
    problem = at_most(value * readers, limits.workers)
    return f"{value} x data.workers = {problem}" if problem and readers > 1 else problem


def _readers(value: int, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if there would be more processes that read images than processes are allowed, else None.

    Values of 0 and 1 are always allowed.
    """
    # One reader more or less does not matter: it is the number of evaluating processes then.
    if value <= 1:
        return None
    processes = {"": 1}
    if isinstance(job, SearchJob):
        processes = {"executor.workers": job.executor.workers, "recipe.devices": job.recipe.devices}
        processes |= {} if job.retrain is None else {"retrain.devices": job.retrain.devices}
    key = max(processes, key=lambda name: processes[name])
    problem = at_most(value * processes[key], limits.workers)
    return f"{key} x data.workers = {problem}" if problem and processes[key] > 1 else problem


def _epochs(value: int, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if the number of epochs is larger than `limits.epochs`, else None."""
    return at_most(value, limits.epochs)


def _batch_size(value: int, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if the batch size is larger than `limits.batch_size`, else None."""
    return at_most(value, limits.batch_size)


def _threads(value: int, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if there are more threads, or training processes, than `limits.workers`, else None."""
    return at_most(value, limits.workers)


def _trials(value: int, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if the number of trials is larger than `limits.trials`, else None."""
    return at_most(value, limits.trials)


def _path(value: Path, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if a path is too long, has a zero byte or begins with "~", else None.

    Whether the path lies in `limits.roots` is checked by `check_paths`, because that depends on where relative paths start.
    """
    if limits.roots is None:
        return None
    if len(str(value)) > MAX_TEXT or "\0" in str(value):
        return f"a path of more than {MAX_TEXT} characters, or with a zero byte"
    return "write a path without ~" if str(value).startswith("~") else None


def _download(value: str, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message for a data set of the Hugging Face hub over HTTP, where jobs download nothing; else None."""
    return "over HTTP nothing is downloaded; name a folder, or a listing" if limits.roots is not None else None


def _model(value: str, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if the value cannot be the name of a model, as the path of a folder cannot, else None."""
    if limits.roots is None or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", value):
        return None
    return f"{value[:60]!r} is no name of a model; over HTTP no folder can be given"


def _runs(value: tuple[str, ...], limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if a value cannot be the id of a run, as the path of a study cannot, else None."""
    return next((problem for each in value if (problem := _model(each, limits, job))), None)


def _side(value: int, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if the side of the network's input is larger than `limits.image_size`, else None."""
    return at_most(value, limits.image_size)


def _lengths(value: Mapping[str, int], limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if an axis is longer than `MAX_LENGTH`, or there are too many, else None."""
    if limits.roots is None:
        return None
    return too_large(dict(value), 0) or next(
        (f"{length} is more than {MAX_LENGTH}" for length in value.values() if length > MAX_LENGTH), None
    )


def _class_weights(value: str | Mapping[str, float], limits: JobLimits, job: Job) -> str | None:
    """Returns an error message if there are too many class weights or one is not allowed, else None."""
    return None if isinstance(value, str) or limits.roots is None else too_large(dict(value), 0)


def _address(value: str, limits: JobLimits, job: Job) -> str | None:
    """Returns an error message for the address of a Ray cluster if `limits.own_ray` is True, else None."""
    return "over HTTP a job may use only a Ray that it starts itself; leave it out" if limits.own_ray else None


_RECIPE: dict[str, Rule] = {
    "epochs": _epochs,
    "batch_size": _batch_size,
    **dict.fromkeys(("optimizer", "learning_rate", "weight_decay", "schedule", "warm_up", "label_smoothing"), _free),
    **dict.fromkeys(("ema_decay", "gradient_clip", "auxiliary_weight", "drop_path_prob", "precision"), _free),
    "devices": _workers,
}
"""Rules of the keys of `Recipe`, for `recipe` and `retrain` of a search."""

_JOB: dict[str, Rule] = {
    "name": _free,
    "summary": _summary,
    "data.name": _name,
    "data.folder": _path,
    "data.file": _path,
    "data.dataset": _download,
    "data.settings": _values,
    "data.workers": _readers,
    "latency.batch_size": _batch_size,
    "latency.threads": _threads,
    "latency.table": _path,
    "latency.lengths": _lengths,
    "seed": _free,
    "publish.name": _free,
    "publish.formats": _free,
    "publish.profile_seconds": _timed,
}
"""Rules of the keys that all jobs have."""

_SEARCH: dict[str, Rule] = {
    "space.name": _name,
    "space.settings": _values,
    "evaluator.name": _name,
    "evaluator.arguments": _values,
    "strategy.name": _name,
    "strategy.arguments": _values,
    "strategy.then.name": _name,
    "strategy.then.arguments": _values,
    **{f"recipe.{key}": rule for key, rule in _RECIPE.items()},
    **{f"retrain.{key}": rule for key, rule in _RECIPE.items()},
    **dict.fromkeys(("zero_cost_filter.score", "zero_cost_filter.quantile"), _free),
    "zero_cost_filter.archs": _trials,
    "zero_cost_filter.images": _batch_size,
    "budget.trials": _trials,
    "budget.seconds": _timed,
    "pruner.name": _name,
    "warm_start": _runs,
    **dict.fromkeys(("pruner.arguments", "baselines.archs"), _values),
    **dict.fromkeys(("publish.front", "baselines.uniform", "budget.max_trial_seconds"), _timed),
    "executor.workers": _workers,
    "executor.address": _address,
    **dict.fromkeys(("objectives", "constraints", "retrain.start"), _free),
    **dict.fromkeys(("executor.kind", "executor.cpus_per_trial", "executor.gpus_per_trial"), _free),
}
"""Rules of the keys of a search, besides those of `_JOB`."""

_FINE_TUNING: dict[str, Rule] = {
    "start.model": _model,
    "images.size": _side,
    "images.fit": _free,
    "recipe.minutes": _timed,
    "recipe.epochs": _epochs,
    "recipe.batch_size": _batch_size,
    **dict.fromkeys((f"recipe.augment.{name}" for name in Augmentation.model_fields), _free),
    **{f"recipe.{name}": _free for name in ("learning_rate", "body_rate", "weight_decay", "warm_up", "patience", "precision")},
    **{f"recipe.{name}": _free for name in ("label_smoothing", "ema_decay", "gradient_clip", "batch_norm", "early_layers")},
    "recipe.class_weights": _class_weights,
    "recipe.devices": _threads,
}
"""Rules of the keys of a fine-tuning, besides those of `_JOB`."""

_SHRINKING: dict[str, Rule] = {
    "strategy.name": _name,
    "strategy.arguments": _values,
    "budget.trials": _trials,
    **dict.fromkeys(("constraints", "budget.search_share", "budget.start_share", "weights", "random_networks"), _free),
}
"""Rules of the keys of a search for a smaller network, besides those of a fine-tuning."""

RULES: dict[type[Job], dict[str, Rule]] = {
    SearchJob: _JOB | _SEARCH,
    FineTuneJob: _JOB | _FINE_TUNING,
    ShrinkJob: _JOB | _FINE_TUNING | _SHRINKING,
}
"""The rule of each key, by the class of the job. For a new key, decide what a job could access or use up with it."""
