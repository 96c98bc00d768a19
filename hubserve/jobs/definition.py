"""The records of a job file: a search described as data, from the model space to the name that the winner is published under.

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

Keys, types and ranges are checked here, without torch. `hubserve.pipeline.check_definition` checks that the space and the
strategy exist and take these values, and `hubserve.pipeline.resolve_job` also loads the data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

DIRECTIONS = {"val_acc": "maximize", "params": "minimize", "macs": "minimize", "latency_ms": "minimize"}
"""Scores that a search can optimize, and the direction of each."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
StoreName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
Measure = Literal["params", "macs", "latency_ms"]
Score = Literal["val_acc", "params", "macs", "latency_ms"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
JobFormat = Literal["onnx", "torchscript", "pt2"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpaceEntry(_Record):
    """The model space to search.

    Attributes:
        name: Class name of a space of the hub; `hubserve spaces` lists them.
        settings: Arguments of that class. `num_labels` is the data set's number of classes unless given here.
    """

    name: str
    settings: dict[str, Any] = {}


class DataEntry(_Record):
    """The data set to train, validate and test on.

    A text in place of the mapping is the name of a data set without a folder (digits), or where one's own images are: a
    folder, a file that ends in .csv, .tsv or .parquet, or `hf://owner/name`.

    Attributes:
        name: Name of a data set of `hubserve.data.named_datasets`: digits, cifar10, cifar100, or one's own images: folder,
            listing, hf.
        folder: Folder that holds the images, relative to where the job is submitted; None for digits, listing and hf.
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


class MultiTrialEntry(_Record):
    """A strategy that proposes one arch a trial.

    Attributes:
        name: Class name in `hubserve.strategy`.
        arguments: Arguments of that class, except its seed, which is the job's.
    """

    name: str
    arguments: dict[str, Any] = {}


class StrategyEntry(MultiTrialEntry):
    """A multi-trial or a one-shot strategy.

    Attributes:
        name: Class name in `hubserve.strategy`.
        arguments: Arguments of that class, except its seed, which is the job's.
        then: Strategy that searches the trained supernet. Needed after RandomOneShot, which only trains one; None for all
            other strategies.
    """

    then: MultiTrialEntry | None = None


class Recipe(_Record):
    """How networks are trained; the arguments of `hubserve.evaluator.Classification`.

    Supernets are trained without `ema_decay` and `drop_path_prob`, and in 32 bits: other values of these are refused there.

    Attributes:
        epochs: Number of passes over the training data, at least 1.
        batch_size: Number of images in a training step, at least 1.
        optimizer: Optimizer of the weights: sgd (with Nesterov momentum 0.9), adam, adamw or rmsprop.
        learning_rate: Learning rate before its schedule, above 0.
        weight_decay: Weight decay of all weights, at least 0.
        schedule: "cosine" lowers the learning rate to 0, "step" to a hundredth in two steps; "none" keeps it.
        warm_up: Share of the steps during which the learning rate rises linearly first, in [0, 1).
        label_smoothing: Label smoothing of the cross entropy, in [0, 1).
        ema_decay: Decay, in [0, 1), of a moving average of the weights, which is scored and saved in place of the last
            weights; None uses the last weights.
        gradient_clip: Largest norm of all gradients together, above 0; None does not clip.
        auxiliary_weight: Weight of the loss of an auxiliary head, at least 0; only spaces with such a head use it.
        drop_path_prob: Drop path probability of the last epoch, in [0, 1), reached linearly; 0 for spaces without drop path.
        precision: Precision of the computation; "auto" is mixed precision on CUDA and 32 bits elsewhere and for supernets.
    """

    epochs: Annotated[int, Field(ge=1)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 64
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "sgd"
    learning_rate: Positive = 0.1
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5e-4
    schedule: Literal["cosine", "step", "none"] = "cosine"
    warm_up: Share = 0.0
    label_smoothing: Share = 0.0
    ema_decay: Share | None = None
    gradient_clip: Positive | None = None
    auxiliary_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.4
    drop_path_prob: Share = 0.0
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"


class LatencyEntry(_Record):
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


class Budget(_Record):
    """When a search ends: at the limit that is reached first. A job whose strategy runs trials needs at least one of the two.

    Attributes:
        trials: Number of evaluated trials, at least 1; None sets no limit. One-shot strategies without `then` have no trials.
        seconds: Seconds of searching, above 0; None sets no limit.
    """

    trials: Annotated[int, Field(ge=1)] | None = None
    seconds: Positive | None = None


class ExecutorEntry(_Record):
    """Where trials are evaluated.

    Attributes:
        kind: "inline" runs trials in the job's process, "processes" in worker processes, "ray" on a Ray cluster.
        workers: Number of trials at once, 1 to 4096; must be 1 with "inline".
        cpus_per_trial: Number of cores that Ray reserves for each trial, at least 0; None reserves 1.
        gpus_per_trial: Number of GPUs, or share of one, that Ray reserves for each trial, at least 0; None reserves none.
        address: Address of a running Ray cluster; None starts one on this machine.
    """

    kind: Literal["inline", "processes", "ray"] = "inline"
    workers: Annotated[int, Field(ge=1, le=4096)] = 1
    cpus_per_trial: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    gpus_per_trial: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    address: str | None = None

    @model_validator(mode="after")
    def _fits_the_kind(self) -> ExecutorEntry:
        if self.kind == "inline" and self.workers != 1:
            raise ValueError(f"workers = {self.workers}: inline runs one trial at a time; choose processes or ray for more")
        if self.kind != "ray" and self.ray_settings:
            raise ValueError(f"{', '.join(self.ray_settings)}: of ray, and kind is {self.kind}")
        return self

    @property
    def ray_settings(self) -> dict[str, Any]:
        """The given settings that only Ray takes."""
        return self.model_dump(include={"cpus_per_trial", "gpus_per_trial", "address"}, exclude_none=True)


class Publish(_Record):
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


class Job(_Record):
    """A search described as data; the keys of a job file.

    Attributes:
        name: Name of the job, with which the ids of its runs begin: letters, digits, "_" and "-", at most 60.
        summary: One sentence that says what the job finds.
        space: Model space to search.
        data: Data set to train, validate and test on.
        strategy: Strategy that searches.
        recipe: How each trial, or the supernet, is trained.
        objectives: Direction of each score to optimize. The winner is the best feasible trial in the first one, val_acc.
        constraints: Upper bound of each constrained measure.
        latency: How `latency_ms` is measured.
        budget: When the search ends.
        executor: Where trials are evaluated.
        seed: Seed of all random numbers of the job, 0 to 2**31 - 1.
        retrain: How the winner is trained from fresh weights; None keeps the weights of its trial, or the supernet's.
        publish: How the winner is published; None leaves the package in the run folder.
    """

    name: Name
    summary: str = ""
    space: SpaceEntry
    data: DataEntry
    strategy: StrategyEntry
    recipe: Recipe = Recipe()
    objectives: Annotated[dict[Score, Literal["maximize", "minimize"]], Field(min_length=1)] = {"val_acc": "maximize"}
    constraints: dict[Measure, Positive] = {}
    latency: LatencyEntry = LatencyEntry()
    budget: Budget = Budget()
    executor: ExecutorEntry = ExecutorEntry()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    retrain: Recipe | None = None
    publish: Publish | None = Publish()

    @field_validator("objectives", mode="before")
    @classmethod
    def _add_directions(cls, given: Any) -> Any:
        """A list of names is allowed as well, each with its usual direction."""
        if isinstance(given, list) and all(isinstance(name, str) for name in given):
            return {name: DIRECTIONS.get(name, "maximize") for name in given}
        return given

    @field_validator("objectives")
    @classmethod
    def _check_directions(cls, objectives: dict[str, str]) -> dict[str, str]:
        wrong = [name for name, direction in objectives.items() if direction != DIRECTIONS[name]]
        if wrong:
            raise ValueError(f"{wrong[0]}: {objectives[wrong[0]]} is the wrong way; it is better to {DIRECTIONS[wrong[0]]} it")
        if next(iter(objectives)) != "val_acc":
            raise ValueError(f"{', '.join(objectives)}: val_acc must come first; the best in the first one is published")
        return objectives

    @property
    def limits(self) -> dict[str, float]:
        """Upper bound of each constrained measure."""
        return {str(name): bound for name, bound in self.constraints.items()}

    @property
    def store_name(self) -> str:
        """Name of the published model in the store."""
        given = self.publish.name if self.publish is not None else None
        return given or self.name.lower().rstrip("_-")
