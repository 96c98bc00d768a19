"""The keys that all job files share, for a search and for the fine-tuning of a model, with an example of a job file.

A search, from the model space to the name that the winner is published under:

    name: digits_quickstart
    summary: NAS-Bench-201 cells on scikit-learn's digits, in about a minute
    space: {name: NasBench201, settings: {stem_out_channels: 8}}
    data: {name: digits}
    strategy: {name: RegularizedEvolution, arguments: {population_size: 6}}
    recipe: {epochs: 4}                        # how a trial, or a supernet, is trained
    objectives: [val_acc]                     # or {latency_ms: minimize}, ...
    constraints: {params: 50000, latency_ms: 8}    # upper bounds
    budget: {trials: 15, seconds: 60}
    retrain: {epochs: 40}                      # leave it out to keep the weights of the trial
    publish: {name: digits}

A fine-tuning, from the model to start from; it has `start` and no `strategy`:

    name: flowers
    start: {model: efficientnet-lite0}
    data: {name: folder, folder: photos}
    images: {size: 160, fit: pad}             # leave it out, and both are proposed from the images
    recipe: {minutes: 10}
    publish: {name: flowers}

Keys, types and ranges are checked here, without torch. `hubserve.pipeline.check_definition` checks that the space and the
strategy exist and take these values, and `hubserve.pipeline.resolve_job` also loads the data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hubserve.own_code import is_import_path

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
StoreName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
JobFormat = Literal["onnx", "torchscript", "pt2"]


class JobRecord(BaseModel):
    """Base of the records of a job: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataEntry(JobRecord):
    """The data set to train, validate and test on.

    A text in place of the mapping is the name of a data set without a folder (digits), an import path, or where one's own
    images are: a folder, a file that ends in .csv, .tsv or .parquet, or `hf://owner/name`.

    Attributes:
        name: Name of a data set of `hubserve.data.named_datasets`: digits, cifar10, cifar100, or one's own images: folder,
            listing, hf. Or the import path of a function of the user's own that loads the data, or the name of an entry point
            of the group "hubserve.datasets".
        folder: Folder that holds the images, relative to where the job is submitted; None for digits, listing and hf. A
            function of the user's own is called with it if it is given.
        file: The listing, a CSV, TSV or Parquet file, relative to where the job is submitted; None for all but listing.
        dataset: Name of a data set of the Hugging Face hub, such as owner/name; None for all but hf.
        settings: Arguments of the data set, such as `size` in pixels and `val_share`.
        workers: Number of processes that read images, 0 to 256; 0 reads them in the process that trains.
    """

    name: str
    folder: Path | None = None
    file: Path | None = None
    dataset: Annotated[str, Field(min_length=1)] | None = None
    settings: dict[str, Any] = {}
    workers: Annotated[int, Field(ge=0, le=256)] = 0

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given == "digits":
            return {"name": given}
        if is_import_path(given):
            return {"name": given}
        if given.startswith("hf://"):
            return {"name": "hf", "dataset": given.removeprefix("hf://")}
        if given.lower().endswith((".csv", ".tsv", ".parquet")):
            return {"name": "listing", "file": given}
        return {"name": "folder", "folder": given}

    @model_validator(mode="after")
    def _has_its_place(self) -> DataEntry:
        key = {"listing": "file", "hf": "dataset"}.get(self.name, "folder")
        others = [other for other in ("folder", "file", "dataset") if other != key and getattr(self, other) is not None]
        if others:
            raise ValueError(f"{others[0]} is given, and the data set {self.name!r} has {key}")
        if key != "folder" and self.place is None:
            raise ValueError(f"the data set {self.name!r} needs {key}")
        return self

    @property
    def place(self) -> Path | str | None:
        """Where the data are: `folder`, `file` or `dataset`; None for a data set that comes with a library."""
        return self.folder or self.file or self.dataset


class LatencyEntry(JobRecord):
    """How the latency of a network is measured: exported to ONNX and run on this machine as the service runs it.

    Attributes:
        batch_size: Number of images in a call, 1 to 1024.
        threads: Number of threads of a call, 1 to 256.
        table: File of `hubserve latency-table build` that predicts the latency of archs during the search; None measures each
            arch. The winner is measured in either case.
    """

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    table: Path | None = None


class Publish(JobRecord):
    """How the winner is exported, profiled and published.

    Attributes:
        name: Name in the model store; None uses the job's name in lower case.
        formats: Formats to export: onnx, which the service needs, torchscript and pt2. Unless given, onnx and, where this
            Python supports it, torchscript.
        profile_seconds: Largest number of seconds for measuring the latency of the package, above 0.
    """

    name: StoreName | None = None
    formats: Annotated[tuple[JobFormat, ...], Field(min_length=1)] = ("onnx", "torchscript")
    profile_seconds: Positive = 20.0

    @field_validator("formats")
    @classmethod
    def _has_onnx(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if "onnx" not in formats:
            raise ValueError("the service runs onnx; add it")
        return formats


class Job(JobRecord):
    """What every job has: the keys that searches and fine-tunings share.

    Attributes:
        name: Name of the job, with which the ids of its runs begin: letters, digits, "_" and "-", at most 60.
        summary: One sentence that says what the job finds.
        data: Data set to train, validate and test on.
        latency: How `latency_ms` is measured.
        seed: Seed of all random numbers of the job, 0 to 2**31 - 1.
        publish: How the model is published; None leaves the package in the run folder.
    """

    name: Name
    summary: str = ""
    data: DataEntry
    latency: LatencyEntry = LatencyEntry()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    publish: Publish | None = Publish()

    @property
    def store_name(self) -> str:
        """The name under which the model is published in the model store: `publish.name`, or the job's name in lower case."""
        given = self.publish.name if self.publish is not None else None
        return given or self.name.lower().rstrip("_-")

    @property
    def limits(self) -> dict[str, float]:
        """The upper bound of each constrained measure, by the name of the measure; empty for jobs without constraints."""
        return {}

    @property
    def max_trials(self) -> int | None:
        """Number of trials after which a search ends; None without such a limit, and for jobs without trials."""
        return None
