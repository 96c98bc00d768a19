"""Job files: a search described as data, from the space to the name it is published under.

    name: digits_quickstart
    summary: NAS-Bench-201 cells on scikit-learn's digits, in about a minute
    space: {name: NasBench201, settings: {stem_out_channels: 8}}
    data: {name: digits}
    strategy: {name: RegularizedEvolution, arguments: {population_size: 6}}
    recipe: {epochs: 4}                        # how a trial, or a supernet, is trained
    objectives: [val_acc]                     # or {latency_ms: minimize}, ...
    constraints: {params: 50000, latency_ms: 8}    # each at most
    budget: {trials: 15, seconds: 60}
    retrain: {epochs: 40}                      # leave it out to keep the weights of the trial
    publish: {name: digits}

What is checked here needs no torch: keys, types and ranges. Whether the space, the data set and the strategy exist and take
what is given is seen by `hubserve search JOB --check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hubserve.errors import JobError
from hubserve.jobs.explain import explain

DIRECTIONS = {"val_acc": "maximize", "params": "minimize", "macs": "minimize", "latency_ms": "minimize"}
"""What a search can improve, and which way each is better."""

MEASURES = ("params", "macs", "latency_ms")
"""What a search can be held to."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")]
StoreName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
Measure = Literal["params", "macs", "latency_ms"]
Score = Literal["val_acc", "params", "macs", "latency_ms"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SpaceEntry(_Record):
    """A model space.

    Attributes:
        name: class name, see `hubserve spaces`.
        settings: of the space; the number of classes is the data set's unless given.
    """

    name: str
    settings: dict[str, Any] = {}


class DataEntry(_Record):
    """A data set, see `hubserve.data.named_datasets`.

    Attributes:
        name: of the data set.
        folder: where it lies, for those that are files of one's own; relative to where the job is submitted.
        settings: of the data set.
        workers: processes that read pictures; 0 reads them in the process that trains.
    """

    name: str
    folder: Path | None = None
    settings: dict[str, Any] = {}
    workers: Annotated[int, Field(ge=0, le=256)] = 0


class MultiTrialEntry(_Record):
    """A strategy that proposes one arch a trial.

    Attributes:
        name: class name in `hubserve.strategy`.
        arguments: of the strategy; its seed is the job's.
    """

    name: str
    arguments: dict[str, Any] = {}


class StrategyEntry(MultiTrialEntry):
    """A strategy of either kind.

    Attributes:
        name: class name in `hubserve.strategy`.
        arguments: of the strategy; its seed is the job's.
        then: for a strategy that ends in a supernet: what searches it.
    """

    then: MultiTrialEntry | None = None


class Recipe(_Record):
    """How networks are trained; see `hubserve.evaluator.Classification`.

    Shared weights are trained without `ema_decay` and `drop_path_prob`, and in 32 bits: where a supernet is trained, other
    values of these are refused.

    Attributes:
        epochs: passes over the training data.
        batch_size: pictures of a step.
        optimizer: of the weights; sgd has Nesterov momentum 0.9.
        learning_rate: before its schedule.
        weight_decay: of all weights.
        schedule: "cosine" lets the learning rate fall to 0, "step" to a hundredth in two steps; "none" keeps it.
        warm_up: share of the steps over which it rises first.
        label_smoothing: of the cross entropy.
        ema_decay: of the running average of the weights that is scored, and kept, in their place; None keeps the last ones.
        gradient_clip: largest norm of all gradients together.
        auxiliary_weight: of the loss of an auxiliary head, for spaces that have one.
        drop_path_prob: reached linearly, for spaces that have drop path.
        precision: of the computation; "auto" is mixed on CUDA, but for shared weights.
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
    """How the latency of a network is measured: exported to ONNX, on this machine, as the service would run it.

    Attributes:
        batch_size: pictures of a call.
        threads: that a call may use.
        table: file of `hubserve latency-table build` that predicts it during the search; each arch is measured without one.
            The winner is measured in any case.
    """

    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    table: Path | None = None


class Budget(_Record):
    """When a search ends; what comes first.

    Attributes:
        trials: most of them; a one-shot strategy without `then` has none.
        seconds: of searching.
    """

    trials: Annotated[int, Field(ge=1)] | None = None
    seconds: Positive | None = None


class ExecutorEntry(_Record):
    """Where trials are evaluated.

    Attributes:
        kind: in this process, in others, or on a Ray cluster.
        workers: trials at once; one with "inline".
        cpus_per_trial: cores that Ray keeps for each; 1 unless given.
        gpus_per_trial: GPUs, or a share of one, that Ray keeps for each; none unless given.
        address: of a Ray cluster that runs already; one is started unless given.
    """

    kind: Literal["inline", "processes", "ray"] = "inline"
    workers: Annotated[int, Field(ge=1, le=4096)] = 1
    cpus_per_trial: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    gpus_per_trial: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    address: str | None = None

    @model_validator(mode="after")
    def _what_the_kind_takes(self) -> ExecutorEntry:
        if self.kind == "inline" and self.workers != 1:
            raise ValueError(f"workers = {self.workers}: inline runs one trial at a time; choose processes or ray for more")
        if self.kind != "ray" and self.of_ray:
            raise ValueError(f"{', '.join(self.of_ray)}: of ray, and kind is {self.kind}")
        return self

    @property
    def of_ray(self) -> dict[str, Any]:
        """What was given of that which only Ray takes."""
        return self.model_dump(include={"cpus_per_trial", "gpus_per_trial", "address"}, exclude_none=True)


class Publish(_Record):
    """What becomes of the winner.

    Attributes:
        name: in the store; the job's, in small letters, unless given.
        formats: exported forms; the service needs onnx.
        profile_seconds: most time to measure the latency of the package.
    """

    name: StoreName | None = None
    formats: Annotated[tuple[Literal["onnx", "torchscript", "pt2"], ...], Field(min_length=1)] = ("onnx", "torchscript")
    profile_seconds: Positive = 20.0

    @field_validator("formats")
    @classmethod
    def _served(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if "onnx" not in formats:
            raise ValueError("the service runs onnx; add it")
        return formats


class Job(_Record):
    """See the module.

    Attributes:
        name: of the job; its run folders bear it.
        summary: one sentence.
        space: that is searched.
        data: that is learned.
        strategy: how to search.
        recipe: how trials, or the supernet, are trained.
        objectives: score -> direction; the first one first. The winner is the best in the first one that meets the constraints.
        constraints: measure -> at most this much.
        latency: how latency_ms is measured.
        budget: when the search ends.
        executor: where trials are evaluated.
        seed: of all that is random.
        retrain: how the winner is trained from fresh weights; None keeps those of its trial, or cuts them from the supernet.
        publish: where the winner goes; None leaves the package in the run folder.
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
    def _directions(cls, given: Any) -> Any:
        """A list of names, each going its usual way, is allowed too."""
        if isinstance(given, list) and all(isinstance(name, str) for name in given):
            return {name: DIRECTIONS.get(name, "maximize") for name in given}
        return given

    @field_validator("objectives")
    @classmethod
    def _usual_way(cls, objectives: dict[str, str]) -> dict[str, str]:
        wrong = [name for name, direction in objectives.items() if direction != DIRECTIONS[name]]
        if wrong:
            raise ValueError(f"{wrong[0]}: {objectives[wrong[0]]} is the wrong way; it is better to {DIRECTIONS[wrong[0]]} it")
        if next(iter(objectives)) != "val_acc":
            raise ValueError(f"{', '.join(objectives)}: val_acc must come first; the best in the first one is published")
        return objectives

    @property
    def store_name(self) -> str:
        """What the winner is called in the store."""
        given = self.publish.name if self.publish is not None else None
        return given or self.name.lower().rstrip("_-")


def parse_job(text: str, *, where: str) -> Job:
    """The job in `text`, which is YAML or JSON; errors name `where` and the key.

    Raises:
        JobError: not YAML, or a key is missing, unknown or out of range; all that is wrong is told at once.
    """
    try:
        given = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError) as error:
        raise JobError(f"{where} is not YAML: {error}") from error
    if not isinstance(given, dict):
        raise JobError(f"{where} holds a {type(given).__name__}; a job is a mapping with name, space, data, strategy, ...")
    try:
        return Job.model_validate(given)
    except ValidationError as error:
        raise JobError(f"{where} is not a job: {explain(error, Job, given)}") from error


def read_job(path: Path) -> Job:
    """The job in a file. Raises JobError as `parse_job`, and where the file cannot be read."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"cannot read the job {path}: {error}") from error
    return parse_job(text, where=str(path))


def dump_job(definition: Mapping[str, Any]) -> str:
    """A definition that came as data, as the text of a job file. Raises JobError where it holds more than plain data."""
    try:
        return yaml.safe_dump(dict(definition), sort_keys=False, allow_unicode=True)
    except (yaml.YAMLError, RecursionError) as error:
        raise JobError(f"the definition is not plain data: {error}") from error


class _Loader(yaml.SafeLoader):
    """Also refuses a key that stands twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)
