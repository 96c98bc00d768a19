"""`Job` and the records of its shared keys: what job files of searches and of fine-tunings have in common, with examples.

The job file of a search:

    name: digits_quickstart
    summary: NAS-Bench-201 cells on scikit-learn's digits, in about a minute
    space: {name: NasBench201, settings: {stem_out_channels: 8}}
    data: {name: digits}
    strategy: {name: RegularizedEvolution, arguments: {population_size: 6}}
    recipe: {epochs: 4}                        # how a trial, or a supernet, is trained
    objectives: [val_acc]                     # or {latency_ms: minimize}, ...
    constraints: {params: 50000, latency_ms: 8}    # upper bounds
    zero_cost_filter: {score: naswot, quantile: 0.5}    # leave it out to train every arch that meets the constraints
    budget: {trials: 15, seconds: 60}
    retrain: {epochs: 40}                      # leave it out to keep the weights of the trial
    publish: {name: digits}

The job file of a fine-tuning, which has the key `start` and no `strategy`; `hubserve.jobs.shrink_job` shows one with both:

    name: flowers
    start: {model: efficientnet-lite0}
    data: {name: folder, folder: photos}
    images: {size: 160, fit: pad}             # leave it out, and both are chosen by the images
    recipe: {minutes: 10}
    publish: {name: flowers}

The records check keys, types and ranges, without importing torch. `hubserve.pipeline.check_definition` also checks that the
space and the strategy exist and accept the given values, and `hubserve.pipeline.resolve_job` also loads the data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hubserve.find_named import is_import_path

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
StoreName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
JobFormat = Literal["onnx", "torchscript", "pt2"]


class JobRecord(BaseModel):
    """Base class of the records of a job file. Records are immutable.

    Raises:
        pydantic.ValidationError: A key is unknown or missing, or a value has a wrong type or is out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataEntry(JobRecord):
    """The data set of a job, with parts for training, validation and test.

    A job file may give a string in place of the mapping. It is "digits", "movie-sentences", "spoken-numbers", an import path,
    or the place of the user's own images: `hf://owner/name` for a data set of the Hugging Face hub, a file that ends in .csv,
    .tsv or .parquet, or a folder. Any other string counts as a folder.

    Attributes:
        name: Name of a data set of `hubserve.data.named_datasets`: "digits", "movie-sentences", "spoken-numbers", "cifar10",
            "cifar100"; for the user's own images "folder", "listing" or "hf", for own texts "text-folder" or "text-listing". Or
            the import path of a function of the user's own, such as "mypkg.data:flowers", or the name of an entry point of the
            group "hubserve.datasets".
        folder: Folder that holds the images or texts. A relative path starts in the folder where the job is submitted. None for
            "digits", "movie-sentences", "spoken-numbers", "listing", "text-listing" and "hf". If it is given, a function of the
            user's own is called with it. Whether the data set needs it is checked when the data is loaded.
        file: The CSV, TSV or Parquet file of a "listing" or "text-listing"; a relative path starts in the folder where the job
            is submitted. None for all other data sets.
        dataset: Name of the data set on the Hugging Face hub, such as "owner/name", for "hf"; None for all other data sets.
        settings: Keyword arguments of the function that loads the data set, such as `size` in pixels and `val_share`.
        workers: Number of processes that read images, 0 to 256; 0 reads them in the process that trains. Only searches of a
            model space use it.

    Raises:
        pydantic.ValidationError: `file` or `dataset` is missing for a data set that needs it, or given for one that does not
            use it; or `folder` is given for "listing", "text-listing" or "hf".
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
        """Returns the mapping that a string stands for; anything but a string is returned unchanged."""
        if not isinstance(given, str):
            return given
        if given in ("digits", "movie-sentences", "spoken-numbers"):
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
        """Returns the record itself.

        Raises:
            ValueError: `file` or `dataset` is missing although the data set needs it, or a key is given that it does not use,
                except `folder` for a data set without a place.
        """
        key = {"listing": "file", "text-listing": "file", "hf": "dataset"}.get(self.name, "folder")
        others = [other for other in ("folder", "file", "dataset") if other != key and getattr(self, other) is not None]
        if others:
            raise ValueError(f"{others[0]} is given, and the data set {self.name!r} has {key}")
        if key != "folder" and self.place is None:
            raise ValueError(f"the data set {self.name!r} needs {key}")
        return self

    @property
    def place(self) -> Path | str | None:
        """The one of `folder`, `file` and `dataset` that is given; None if none is, for example for "digits"."""
        return self.folder or self.file or self.dataset


class LatencyEntry(JobRecord):
    """How the latency of a network is measured: it is exported to ONNX and run on this machine with ONNX Runtime.

    Attributes:
        batch_size: Number of images in a call, 1 to 1024.
        threads: Number of threads that a call uses, 1 to 256.
        table: File, written by `hubserve latency-table build`, by which the latency of archs is predicted during the search. If
            None, each arch is measured. The winner is measured in either case.
        lengths: Length of the named axes of a search on other inputs than images, such as {length: 32}, with which latency is
            measured or predicted during the search; those that are missing are the usual ones of the space.
    """

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    table: Path | None = None
    lengths: dict[str, Annotated[int, Field(ge=1)]] = {}


class Publish(JobRecord):
    """How the resulting network is exported, profiled and published.

    Attributes:
        name: Name in the model store; None takes the job's name in lower case, without "_" and "-" at its end.
        formats: Formats to export, of "onnx", "torchscript" and "pt2"; "onnx" must be one of them. The default is "onnx" and
            "torchscript"; "torchscript" is left out if this version of Python does not support it.
        profile_seconds: Largest number of seconds that the latency of the package is measured for, above 0.
    """

    name: StoreName | None = None
    formats: Annotated[tuple[JobFormat, ...], Field(min_length=1)] = ("onnx", "torchscript")
    profile_seconds: Positive = 20.0

    @field_validator("formats")
    @classmethod
    def _has_onnx(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        """Returns the formats. Raises ValueError if "onnx" is not among them."""
        if "onnx" not in formats:
            raise ValueError("the service runs onnx; add it")
        return formats


class Job(JobRecord):
    """The keys that all jobs have. Its subclasses are `SearchJob`, `FineTuneJob` and, below that, `ShrinkJob`.

    Attributes:
        name: Name of the job, with which the ids of its runs begin: letters, digits, "_" and "-", at most 60, the first one a
            letter or a digit.
        summary: One sentence that says what the job finds.
        data: Data set to train, validate and test on.
        latency: How `latency_ms` is measured.
        seed: Seed of all random numbers of the job, 0 to 2**31 - 1.
        publish: How the network is published. If None, its package stays in the run folder and is not published.
    """

    name: Name
    summary: str = ""
    data: DataEntry
    latency: LatencyEntry = LatencyEntry()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    publish: Publish | None = Publish()

    @property
    def store_name(self) -> str:
        """The network's name in the model store: `publish.name`, or the job's in lower case without "_" and "-" at its end."""
        given = self.publish.name if self.publish is not None else None
        return given or self.name.lower().rstrip("_-")

    @property
    def limits(self) -> dict[str, float]:
        """The upper bound of each constrained measure, by the name of the measure; empty for jobs without constraints."""
        return {}

    @property
    def max_trials(self) -> int | None:
        """The number of trials after which a search ends; None if there is no such limit, and for jobs without trials."""
        return None
