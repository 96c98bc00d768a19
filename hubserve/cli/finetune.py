"""Carries out `hubserve finetune`: makes a fine-tuning job from the options of the command and runs it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from hubserve import jobs
from hubserve.cli.search import Check, launch
from hubserve.errors import JobError


def finetune(
    model: str,
    data: str,
    *,
    name: str | None,
    budget: Mapping[str, Any],
    images: Mapping[str, Any],
    settings: Sequence[str],
    seed: int,
    resume: bool,
    check: Check,
    detach: bool,
    as_json: bool,
) -> None:
    """Makes a fine-tuning job from the options of `hubserve finetune`, and checks, runs or resumes it.

    Args:
        model: Name of the model to start from, or the folder of a package.
        data: Folder of the images, a listing of them (CSV, TSV, Parquet), or `hf://owner/name`.
        name: Name of the job and of the published model; None makes one from the name of the folder.
        budget: Values of `minutes` and `epochs` in the recipe of the job; None leaves a key out.
        images: Values of `size` and `fit` in the section `images` of the job; None leaves a key out.
        settings: Further settings of the recipe as KEY=VALUE, such as "augment.mixup=0".
        seed: Seed of all random numbers of the job.
        resume: Whether to resume the newest run of that name that is not done, in place of starting a new one.
        check: Whether to only check that the job can run: "auto" does so, "all" also decodes every image, however many there
            are; None runs the job.
        detach: Whether to run it in the background.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        JobError: An option is wrong, the job cannot be run, or (JobNotFoundError) there is no run to resume.
    """
    text = jobs.dump_job(
        fine_tuning_keys(model, data, name=name or name_of(data), budget=budget, images=images, settings=settings, seed=seed)
    )
    parsed = jobs.parse_job(text, where="the command line")
    launch(text, parsed, names={parsed.name}, resume=resume, check=check, detach=detach, as_json=as_json)


def fine_tuning_keys(
    model: str,
    data: str,
    *,
    name: str,
    budget: Mapping[str, Any],
    images: Mapping[str, Any],
    settings: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Returns the keys of a job that starts from a model; the arguments are those of `finetune`.

    Raises:
        JobError: One of `settings` is not KEY=VALUE.
    """
    return {
        "name": name,
        "start": {"model": str(Path(model).resolve()) if "/" in model else model},
        "data": data_entry(data),
        "images": {key: value for key, value in images.items() if value is not None},
        "recipe": _recipe(settings) | {key: value for key, value in budget.items() if value is not None},
        "seed": seed,
    }


def data_entry(data: str) -> dict[str, str]:
    """Returns the section `data` of a job for a folder, a listing, or the address of a data set of the Hugging Face hub."""
    if data.startswith("hf://"):
        return {"name": "hf", "dataset": data.removeprefix("hf://")}
    if data.lower().endswith((".csv", ".tsv", ".parquet")) and not Path(data).is_dir():
        return {"name": "listing", "file": data}
    return {"name": "folder", "folder": data}


def name_of(data: Path | str) -> str:
    """Makes the name of a job from the name of a file or folder, or of a data set of the Hugging Face hub.

    It has at most 60 characters: small letters, digits, "_" and "-". It is "images" if the given name has none of these.
    """
    address = str(data).partition("hf://")[2]
    stem = re.split("[:@]", address)[0] if address else Path(data).resolve().stem
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:60].strip("_-")
    return readable.lower() or "images"


def _recipe(settings: Sequence[str]) -> dict[str, Any]:
    """Parses KEY=VALUE pairs, whose values are YAML, to the dict of a recipe.

    A dot in a key means a nested dict: "augment.mixup=0" gives {"augment": {"mixup": 0}}. Raises JobError for a pair that has
    another format.
    """
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
