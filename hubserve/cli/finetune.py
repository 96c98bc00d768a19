"""What `hubserve finetune` does: writes a fine-tuning job from its options and runs it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hubserve import jobs
from hubserve.cli.search import launch
from hubserve.errors import JobError


def finetune(
    model: str,
    data: Path,
    *,
    name: str | None,
    budget: Mapping[str, Any],
    images: Mapping[str, Any],
    settings: Sequence[str],
    seed: int,
    resume: bool,
    check: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Fine-tunes a model; see `hubserve finetune --help`.

    Args:
        model: Name of the model to start from, or the folder of a package.
        data: Folder of the images.
        name: Name of the job and of the published model; None makes one from the name of the folder.
        budget: The keys `minutes` and `epochs` of the recipe; those that are None are left out.
        images: The keys `size` and `fit`; those that are None are left out.
        settings: KEY=VALUE pairs of the recipe.
        seed: Seed of the job.
        resume: Whether to go on with the newest run of that name that is not done.
        check: Whether only to say if the job can run.
        detach: Whether to run in the background.
        as_json: Whether to print JSON.
    """
    text = jobs.dump_job(
        {
            "name": name or name_of(data),
            "start": {"model": str(Path(model).resolve()) if "/" in model else model},
            "data": {"name": "folder", "folder": str(data)},
            "images": {key: value for key, value in images.items() if value is not None},
            "recipe": _recipe(settings) | {key: value for key, value in budget.items() if value is not None},
            "seed": seed,
        }
    )
    parsed = jobs.parse_job(text, where="the command line")
    launch(text, parsed, names={parsed.name}, resume=resume, check=check, detach=detach, as_json=as_json)


def name_of(data: Path) -> str:
    """Name of a job made from that of a file or folder: letters, digits, "_" and "-", at most 60."""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", data.resolve().stem).strip("_-")[:60].strip("_-")
    return readable.lower() or "images"


def _recipe(settings: Sequence[str]) -> dict[str, Any]:
    """The recipe of KEY=VALUE pairs; a dot in a key goes into a record, as in augment.mixup=0. Raises JobError."""
    recipe: dict[str, Any] = {}
    for pair in settings:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise JobError(f"--set {pair}: expected KEY=VALUE, such as --set learning_rate=0.01")
        *path, last = key.split(".")
        target = recipe
        for part in path:
            target = target.setdefault(part, {})
        try:
            target[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise JobError(f"--set {pair}: the value is not YAML: {error}") from error
    return recipe
