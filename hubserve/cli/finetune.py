"""Carries out `hubserve finetune` and `hubserve shrink`: makes a job from the options of the command, and runs it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hubserve import jobs
from hubserve.cli.search import Check, launch
from hubserve.errors import JobError


@dataclass(frozen=True)
class ImageJobOptions:
    """Options of `hubserve finetune` and `hubserve shrink` that say what the job is.

    Attributes:
        model: Name of the model to start from, or the folder of a package.
        data: Folder of the images, a listing of them (CSV, TSV, Parquet), or `hf://owner/name`.
        name: Name of the job and of the published model; None makes one from the name of the folder.
        minutes: Budget in minutes; None leaves it out of the recipe.
        epochs: Budget in epochs; None leaves it out of the recipe.
        size: Side of the network's input in pixels; None has it proposed from the images.
        fit: How images become a square: "crop", "pad" or "squash"; None has it proposed from the images.
        settings: Further settings of the recipe as KEY=VALUE, such as "augment.mixup=0".
        seed: Seed of all random numbers of the job.
        devices: Number of devices that train together; None leaves it out of the recipe.
    """

    model: str
    data: str
    name: str | None
    minutes: float | None
    epochs: int | None
    size: int | None
    fit: str | None
    settings: tuple[str, ...]
    seed: int
    devices: int | None = None

    def keys(self, name: str) -> dict[str, Any]:
        """Returns the keys of a job that starts from the model.

        Args:
            name: Name of the job, unless the option `name` gives one.

        Raises:
            JobError: One of `settings` is not KEY=VALUE.
        """
        return {
            "name": self.name or name,
            "start": {"model": str(Path(self.model).resolve()) if "/" in self.model else self.model},
            "data": data_entry(self.data),
            "images": _given(size=self.size, fit=self.fit),
            "recipe": _recipe(self.settings) | _given(minutes=self.minutes, epochs=self.epochs, devices=self.devices),
            "seed": self.seed,
        }


def finetune(options: ImageJobOptions, *, resume: bool, check: Check, detach: bool, as_json: bool) -> None:
    """Makes a fine-tuning job from the options of `hubserve finetune`, and checks, runs or resumes it.

    Args:
        options: What the job is.
        resume: Whether to resume the newest run of that name that is not done, in place of starting a new one.
        check: Whether to only check that the job can run: "auto" does so, "all" also decodes every image, however many there
            are; None runs the job.
        detach: Whether to run it in the background.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        JobError: An option is wrong, the job cannot be run, or (JobNotFoundError) there is no run to resume.
        typer.Exit: The run was interrupted (exit code 130).
    """
    keys = options.keys(name_of(options.data))
    launch_keys(keys, resume=resume, check=check, detach=detach, as_json=as_json)


def shrink(
    options: ImageJobOptions,
    limits: Mapping[str, float | None],
    *,
    resume: bool,
    check: Check,
    detach: bool,
    as_json: bool,
) -> None:
    """Makes the job of `hubserve shrink` from its options, and checks, runs or resumes it.

    Args:
        options: What the job is.
        limits: Values of `latency_ms` and `latency_share`, of which one is given and the other is None.
        resume: Whether to resume the newest run of that name that is not done, in place of starting a new one.
        check: Whether to only check that the job can run, "auto" or "all" as in `finetune`; None runs the job.
        detach: Whether to run it in the background.
        as_json: Whether to print a JSON document in place of tables.

    Raises:
        JobError: An option is wrong, the job cannot be run, or (JobNotFoundError) there is no run to resume.
        typer.Exit: No network is fast enough (exit code 3), or the run was interrupted (exit code 130).
    """
    constraints = _given(**limits)
    if len(constraints) != 1:
        raise JobError("say how fast the network must be: --latency-ms 5, or --latency-share 0.5, one of the two")
    keys = options.keys(f"{name_of(options.data)[:54]}-small")
    search = {"strategy": {"name": "RegularizedEvolution"}, "constraints": constraints}
    launch_keys(keys | search, resume=resume, check=check, detach=detach, as_json=as_json)


def launch_keys(keys: Mapping[str, Any], *, resume: bool, check: Check, detach: bool, as_json: bool) -> None:
    """Checks, runs or resumes the job with these keys. The other arguments are those of `hubserve.cli.search.launch`.

    Raises:
        JobError: A key is wrong, the job cannot be run, or (JobNotFoundError) there is no run to resume.
        typer.Exit: No arch met the constraints (exit code 3), or the run was interrupted (exit code 130).
    """
    text = jobs.dump_job(keys)
    parsed = jobs.parse_job(text, where="the command line")
    launch(text, parsed, names={parsed.name}, resume=resume, check=check, detach=detach, as_json=as_json)


def _given(**values: Any) -> dict[str, Any]:
    """Returns the values that are not None."""
    return {key: value for key, value in values.items() if value is not None}


def data_entry(data: str) -> dict[str, str]:
    """Returns the section `data` of a job for a folder, a listing, or the address of a data set of the Hugging Face hub."""
    if data.startswith("hf://"):
        return {"name": "hf", "dataset": data.removeprefix("hf://")}
    if data.lower().endswith((".csv", ".tsv", ".parquet")) and not Path(data).is_dir():
        return {"name": "listing", "file": data}
    return {"name": "folder", "folder": data}


def name_of(data: Path | str) -> str:
    """Makes the name of a job from the path of a folder or file, or from the text "hf://OWNER/NAME", which gives "owner_name".

    The ending of a file is dropped. Capital letters become small, other characters than ASCII letters, digits, "_" and "-"
    become "_", and "_" and "-" at both ends are dropped. The name has at most 60 characters, and is "images" if none is left.
    """
    address = str(data).partition("hf://")[2]
    place = Path(data).resolve()
    stem = re.split("[:@]", address)[0] if address else place.name if place.is_dir() else place.stem
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
            if not isinstance(target, dict):
                raise JobError(f"--set {pair}: {part} is {target!r} by another --set and has no keys of its own")
        try:
            target[last] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise JobError(f"--set {pair}: the value is not YAML: {error}") from error
    return recipe
