"""The records of a job file: a search, or the fine-tuning of a model, described as data.

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

from hubserve.jobs.fine_tune_recipe import FineTuneRecipe

DIRECTIONS = {"val_acc": "maximize", "params": "minimize", "macs": "minimize", "latency_ms": "minimize"}
"""Scores that a search can optimize, and the direction of each."""

Fit = Literal["crop", "pad", "squash"]
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

    Attributes:
        name: Name of a data set of `hubserve.data.named_datasets`: digits, cifar10, cifar100 or folder.
        folder: Folder that holds the images, relative to where the job is submitted; None for digits, which have no folder.
        settings: Arguments of the data set, such as `size` in pixels and `val_share`.
        workers: Number of processes that read images, 0 to 256; 0 reads them in the process that trains.
    """

    name: str
    folder: Path | None = None
    settings: dict[str, Any] = {}
    workers: Annotated[int, Field(ge=0, le=256)] = 0


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
        """Name of the published model in the store."""
        given = self.publish.name if self.publish is not None else None
        return given or self.name.lower().rstrip("_-")

    @property
    def limits(self) -> dict[str, float]:
        """Upper bound of each constrained measure."""
        return {}

    @property
    def max_trials(self) -> int | None:
        """Number of trials after which a search ends; None without such a limit, and for jobs without trials."""
        return None


class SearchJob(Job):
    """A search described as data; the keys of a job file with `space` and `strategy`.

    Attributes, besides those of Job:
        space: Model space to search.
        strategy: Strategy that searches.
        recipe: How each trial, or the supernet, is trained.
        objectives: Direction of each score to optimize. The winner is the best feasible trial in the first one, val_acc.
        constraints: Upper bound of each constrained measure.
        budget: When the search ends.
        executor: Where trials are evaluated.
        retrain: How the winner is trained from fresh weights; None keeps the weights of its trial, or the supernet's.
    """

    space: SpaceEntry
    strategy: StrategyEntry
    recipe: Recipe = Recipe()
    objectives: Annotated[dict[Score, Literal["maximize", "minimize"]], Field(min_length=1)] = {"val_acc": "maximize"}
    constraints: dict[Measure, Positive] = {}
    budget: Budget = Budget()
    executor: ExecutorEntry = ExecutorEntry()
    retrain: Recipe | None = None

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
    def max_trials(self) -> int | None:
        """Number of trials after which the search ends; None without such a limit."""
        return self.budget.trials


class StartEntry(_Record):
    """The model that a fine-tuning starts from.

    Attributes:
        model: A pre-searched model, a name, tag or alias of the store, or the folder of a package.
    """

    model: Annotated[str, Field(min_length=1, max_length=4096)]


class ImagesEntry(_Record):
    """How images become the network's input.

    Attributes:
        size: Side in pixels of the square that the network sees, 16 to 4096; None takes one that is proposed from the images.
        fit: How images that are no squares fit: "crop" keeps the middle, "pad" adds bars, "squash" changes the aspect ratio;
            None takes the one that is proposed from the images.
    """

    size: Annotated[int, Field(ge=16, le=4096)] | None = None
    fit: Fit | None = None


class FineTuneJob(Job):
    """The fine-tuning of a trained model described as data; the keys of a job file with `start` and without `strategy`.

    Attributes, besides those of Job:
        start: Model whose weights are the first ones; its head is replaced by one for the classes of the data.
        images: How images become the network's input.
        recipe: How the network is trained.
    """

    start: StartEntry
    images: ImagesEntry = ImagesEntry()
    recipe: FineTuneRecipe = FineTuneRecipe()
