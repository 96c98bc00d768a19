"""Which limits the keys of a job have: each key has its rule here, and a test looks that none lacks one."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hubserve.errors import JobError, SpaceError
from hubserve.jobs.definition import Job
from hubserve.jobs.fine_tune_job import FineTuneJob
from hubserve.jobs.fine_tune_recipe import Augmentation
from hubserve.jobs.limits import JobLimits
from hubserve.jobs.search_job import SearchJob
from hubserve.own_code import is_import_path

Rule = Callable[[Any, JobLimits, Job], str | None]
"""(value of the key, limits, the whole job) -> what is wrong with it; None where nothing is."""

MAX_TEXT, MAX_ENTRIES, MAX_DEPTH, MAX_NUMBER = 200, 256, 4, 100_000
"""Limits within `settings` and `arguments`: characters of a text, entries of a list or mapping, their depth, any number."""

MAX_SUMMARY = 2000
TABLE_BYTES = 100_000_000
"""Largest latency table that a job over HTTP may name."""

LISTING_BYTES = 200_000_000
"""Largest listing of images that a job over HTTP may name."""

SIZES = ("size", "resize", "input_size", "img_size")
"""Settings of data sets and spaces that are lengths in pixels."""


def check_limits(job: Job, limits: JobLimits) -> None:
    """Checks all keys of a job against limits; where paths lead to is checked by `check_paths`.

    Raises:
        JobError: A value is not allowed; the message begins with the key.
    """
    rules = RULES[type(job)]
    for key, value in given_keys(job):
        problem = rules[key](value, limits, job)
        if problem is not None:
            raise JobError(f"{key}: {problem}")


def check_paths(job: Job, limits: JobLimits, where: Path) -> None:
    """Checks whether the job may reach the files that it names, whose relative paths start in `where`.

    Raises:
        JobError: It may not; the message does not depend on what is there.
    """
    if job.data.folder is not None:
        limits.reachable("data.folder", where / job.data.folder)
    if job.data.file is not None:
        limits.reachable("data.file", where / job.data.file)
    if job.latency.table is not None:
        limits.reachable("latency.table", where / job.latency.table)


def given_keys(record: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of all keys of a job, those of nested records in their place; keys that are None are left out."""
    for name in type(record).model_fields:
        value = getattr(record, name)
        if isinstance(value, BaseModel):
            yield from given_keys(value, f"{prefix}{name}.")
        elif value is not None:
            yield f"{prefix}{name}", value


def check_values(key: str, value: Any) -> None:
    """Raises SpaceError for settings, or an arch, that are not plain small values."""
    problem = _too_large(value, 0)
    if problem is not None:
        raise SpaceError(f"{key}: {problem}")


def _free(value: Any, limits: JobLimits, job: Job) -> None:
    """Keys whose type bounds what they can do: an entry of a closed list, a number in a range, a short name."""


def _timed(value: Any, limits: JobLimits, job: Job) -> None:
    """Numbers that make a job long, and nothing else: its wall-clock time ends it."""


def _summary(value: str, limits: JobLimits, job: Job) -> str | None:
    too_long = limits.roots is not None and len(value) > MAX_SUMMARY
    return f"{len(value)} characters, and {MAX_SUMMARY} are allowed" if too_long else None


def _name(value: str, limits: JobLimits, job: Job) -> str | None:
    """Names of classes and data sets, and import paths where the limits allow them: importing runs code."""
    if limits.roots is None or re.fullmatch(r"[A-Za-z0-9_-]{1,60}", value):
        return None
    if is_import_path(value) and len(value) <= MAX_TEXT:
        return limits.refused_code and f"{value[:60]!r} is an import path, and {limits.refused_code}"
    return f"{value[:60]!r} is neither a name nor an import path; over HTTP no files can be given"


def _values(value: Mapping[str, Any], limits: JobLimits, job: Job) -> str | None:
    """Settings and arguments: plain values that are small. What a space makes of them is measured when it is built."""
    if limits.roots is None:
        return None
    return _too_large(value, 0) or _image_sizes(value, limits)


def _too_large(value: Any, depth: int) -> str | None:
    if isinstance(value, str):
        return f"a text of {len(value)} characters; {MAX_TEXT} are allowed" if len(value) > MAX_TEXT else None
    if isinstance(value, int | float):
        ok = -MAX_NUMBER <= value <= MAX_NUMBER or (isinstance(value, float) and math.isnan(value))
        return None if ok else f"numbers up to {MAX_NUMBER:,} are allowed, and a larger one is given"
    if not isinstance(value, list | tuple | dict):
        return None if value is None else f"a {type(value).__name__} is given; numbers, texts, lists and mappings are allowed"
    if depth == MAX_DEPTH or len(value) > MAX_ENTRIES:
        return f"at most {MAX_ENTRIES} entries in a list or mapping, and {MAX_DEPTH} of these inside each other, are allowed"
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return next((problem for entry in inner if (problem := _too_large(entry, depth + 1)) is not None), None)


def _image_sizes(value: Any, limits: JobLimits) -> str | None:
    if isinstance(value, dict):
        for name, entry in value.items():
            if name in SIZES and isinstance(entry, int | float) and (problem := _at_most(entry, limits.image_size)):
                return f"{name}: {problem}"
            if (problem := _image_sizes(entry, limits)) is not None:
                return problem
    return None


def _at_most(value: float, limit: float | None) -> str | None:
    return f"{value:,} is more than the {limit:,} that this server allows" if limit is not None and value > limit else None


def _workers(value: int, limits: JobLimits, job: Job) -> str | None:
    """Each process that evaluates trials has its own ones that read images."""
    evaluating = job.executor.workers if isinstance(job, SearchJob) else 1
    product = evaluating * max(1, job.data.workers)
    problem = _at_most(product, limits.workers)
    return problem and f"executor.workers x data.workers = {problem}"


def _readers(value: int, limits: JobLimits, job: Job) -> str | None:
    # One reader more or less does not matter: it is the number of evaluating processes then.
    return _workers(value, limits, job) if value > 1 else None


def _epochs(value: int, limits: JobLimits, job: Job) -> str | None:
    return _at_most(value, limits.epochs)


def _batch_size(value: int, limits: JobLimits, job: Job) -> str | None:
    return _at_most(value, limits.batch_size)


def _threads(value: int, limits: JobLimits, job: Job) -> str | None:
    return _at_most(value, limits.workers)


def _trials(value: int, limits: JobLimits, job: Job) -> str | None:
    return _at_most(value, limits.trials)


def _path(value: Path, limits: JobLimits, job: Job) -> str | None:
    """Whether it lies in a root is checked by `check_paths`, which knows where relative paths start."""
    if limits.roots is None:
        return None
    if len(str(value)) > MAX_TEXT or "\0" in str(value):
        return f"a path of more than {MAX_TEXT} characters, or with a zero byte"
    return "write a path without ~" if str(value).startswith("~") else None


def _download(value: str, limits: JobLimits, job: Job) -> str | None:
    return "over HTTP nothing is downloaded; name a folder, or a listing" if limits.roots is not None else None


def _model(value: str, limits: JobLimits, job: Job) -> str | None:
    """Names of cards, aliases and models of the store. A folder is not a name."""
    if limits.roots is None or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}", value):
        return None
    return f"{value[:60]!r} is no name of a model; over HTTP no folder can be given"


def _side(value: int, limits: JobLimits, job: Job) -> str | None:
    return _at_most(value, limits.image_size)


def _class_weights(value: str | Mapping[str, float], limits: JobLimits, job: Job) -> str | None:
    return None if isinstance(value, str) or limits.roots is None else _too_large(dict(value), 0)


def _address(value: str, limits: JobLimits, job: Job) -> str | None:
    return "over HTTP a job may use only a Ray that it starts itself; leave it out" if limits.own_ray else None


_RECIPE: dict[str, Rule] = {
    "epochs": _epochs,
    "batch_size": _batch_size,
    **dict.fromkeys(("optimizer", "learning_rate", "weight_decay", "schedule", "warm_up", "label_smoothing"), _free),
    **dict.fromkeys(("ema_decay", "gradient_clip", "auxiliary_weight", "drop_path_prob", "precision"), _free),
}

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
    "seed": _free,
    "publish.name": _free,
    "publish.formats": _free,
    "publish.profile_seconds": _timed,
}

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
    "objectives": _free,
    "constraints": _free,
    "budget.trials": _trials,
    "budget.seconds": _timed,
    "executor.kind": _free,
    "executor.workers": _workers,
    "executor.cpus_per_trial": _free,
    "executor.gpus_per_trial": _free,
    "executor.address": _address,
}

_FINE_TUNING: dict[str, Rule] = {
    "start.model": _model,
    "images.size": _side,
    "images.fit": _free,
    "recipe.minutes": _timed,
    "recipe.epochs": _epochs,
    "recipe.batch_size": _batch_size,
    **dict.fromkeys((f"recipe.augment.{name}" for name in Augmentation.model_fields), _free),
    **dict.fromkeys(("recipe.learning_rate", "recipe.body_rate", "recipe.weight_decay", "recipe.warm_up"), _free),
    **dict.fromkeys(("recipe.label_smoothing", "recipe.ema_decay", "recipe.gradient_clip", "recipe.batch_norm"), _free),
    **dict.fromkeys(("recipe.early_layers", "recipe.patience", "recipe.precision"), _free),
    "recipe.class_weights": _class_weights,
}

RULES: dict[type[Job], dict[str, Rule]] = {SearchJob: _JOB | _SEARCH, FineTuneJob: _JOB | _FINE_TUNING}
"""Kind of job -> key -> its rule. A new key of a job needs a decision here: what can it reach, and what can it use up?"""
