"""The record of a search, the kind of job with `space` and `strategy`; see `hubserve.jobs.definition` for an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hubserve.jobs.definition import Job, JobRecord, Positive, Share

DIRECTIONS = {"val_acc": "maximize", "params": "minimize", "macs": "minimize", "latency_ms": "minimize"}
"""Scores that a search can optimize, and the direction of each."""

Measure = Literal["params", "macs", "latency_ms"]
Score = Literal["val_acc", "params", "macs", "latency_ms"]


class SpaceEntry(JobRecord):
    """The model space to search.

    Attributes:
        name: Class name of a space of the hub; `hubserve spaces` lists them. Or the import path of a space of the user's own,
            such as "mypkg.spaces:Small", or the name of an entry point of the group "hubserve.spaces".
        settings: Arguments of that class. `num_labels` is the data set's number of classes unless given here.
    """

    name: str
    settings: dict[str, Any] = Field({})


class MultiTrialEntry(JobRecord):
    """A strategy that proposes one arch a trial.

    Attributes:
        name: Class name in `hubserve.strategy`, import path, or name of an entry point of the group "hubserve.strategies".
        arguments: Arguments of that class, except its seed, which is the job's.
    """

    name: str
    arguments: dict[str, Any] = Field({})


class StrategyEntry(MultiTrialEntry):
    """A multi-trial or a one-shot strategy.

    Attributes:
        name: Class name in `hubserve.strategy`, import path, or name of an entry point of the group "hubserve.strategies".
        arguments: Arguments of that class, except its seed, which is the job's.
        then: Strategy that searches the trained supernet. Needed after RandomOneShot, which only trains one; None for all
            other strategies.
    """

    then: MultiTrialEntry | None = None


class EvaluatorEntry(JobRecord):
    """An evaluator of the user's own, which scores the archs of a search.

    Attributes:
        name: Import path such as "mypkg.scores:accuracy", or name of an entry point of the group "hubserve.evaluators".
        arguments: Arguments of the function or class.
    """

    name: str
    arguments: dict[str, Any] = Field({})


class Recipe(JobRecord):
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


class Budget(JobRecord):
    """When a search ends: at the limit that is reached first. A job whose strategy runs trials needs at least one of the two.

    Attributes:
        trials: Number of evaluated trials, at least 1; None sets no limit. One-shot strategies without `then` have no trials.
        seconds: Seconds of searching, above 0; None sets no limit.
    """

    trials: Annotated[int, Field(ge=1)] | None = None
    seconds: Positive | None = None


class ExecutorEntry(JobRecord):
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


class SearchJob(Job):
    """A search described as data; the keys of a job file with `space` and `strategy`.

    Attributes, besides those of Job:
        space: Model space to search.
        strategy: Strategy that searches.
        recipe: How each trial, or the supernet, is trained.
        evaluator: What scores the archs; None trains each with `recipe` and measures its accuracy on the validation part.
        objectives: Direction of each score to optimize. The winner is the best feasible trial in the first one, val_acc.
        constraints: Upper bound of each constrained measure.
        budget: When the search ends.
        executor: Where trials are evaluated.
        retrain: How the winner is trained from fresh weights; None keeps the weights of its trial, or the supernet's.
    """

    space: SpaceEntry
    strategy: StrategyEntry
    recipe: Recipe = Recipe()
    evaluator: EvaluatorEntry | None = None
    objectives: dict[Score, Literal["maximize", "minimize"]] = Field({"val_acc": "maximize"}, min_length=1)
    constraints: dict[Measure, Positive] = Field({})
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
