"""`SearchJob`, the kind of job with `space` and `strategy`, and its records; `hubserve.jobs.definition` has an example."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hubserve.jobs.definition import Job, JobRecord, Positive, Share

DIRECTIONS = {"val_acc": "maximize", "params": "minimize", "macs": "minimize", "latency_ms": "minimize"}
"""The scores that a search can optimize, and whether each is maximized or minimized."""

Measure = Literal["params", "macs", "latency_ms"]
Score = Literal["val_acc", "params", "macs", "latency_ms"]


class SpaceEntry(JobRecord):
    """The model space to search.

    Attributes:
        name: Class name of a space of the hub; `hubserve spaces` lists them. Or the import path of a space of the user's own,
            such as "mypkg.spaces:Small", or the name of an entry point of the group "hubserve.spaces".
        settings: Keyword arguments of that class. If `num_labels` is not given, it is the data set's number of classes.
    """

    name: str
    settings: dict[str, Any] = Field({})


class MultiTrialEntry(JobRecord):
    """A strategy that proposes one arch for each trial.

    Attributes:
        name: Class name in `hubserve.strategy`, import path, or name of an entry point of the group "hubserve.strategies".
        arguments: Keyword arguments of that class, without the seed, which is `SearchJob.seed`.
    """

    name: str
    arguments: dict[str, Any] = Field({})


class StrategyEntry(MultiTrialEntry):
    """The strategy of a search, which is a multi-trial or a one-shot strategy.

    Attributes:
        name: Class name in `hubserve.strategy`, import path, or name of an entry point of the group "hubserve.strategies".
        arguments: Keyword arguments of that class, without the seed, which is `SearchJob.seed`.
        then: Multi-trial strategy that searches the trained supernet. "RandomOneShot" requires it, because it only trains a
            supernet; for all other strategies it must be None.
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
    """How networks are trained: arguments of `hubserve.evaluator.Classification`.

    A supernet is trained in 32 bits, without `ema_decay` and without `drop_path_prob`; a job that asks for something else is
    refused.

    Attributes:
        epochs: Number of passes over the training data, at least 1.
        batch_size: Number of images in a training step, at least 1.
        optimizer: Optimizer of the weights: "sgd" (with Nesterov momentum 0.9), "adam", "adamw" or "rmsprop".
        learning_rate: Base learning rate, above 0; the warm-up and `schedule` multiply it by factors of at most 1.
        weight_decay: Weight decay of all weights, at least 0.
        schedule: "cosine" decreases the learning rate to 0, "step" decreases it to a hundredth in two steps, "none" keeps it.
        warm_up: Share of the training steps, in [0, 1), at the beginning, during which the learning rate rises linearly.
        label_smoothing: Label smoothing of the cross entropy, in [0, 1).
        ema_decay: Decay, in [0, 1), of an exponential moving average of the weights. The averaged weights are validated and
            saved. If None, the weights of the last step are.
        gradient_clip: Largest norm of all gradients together, above 0; larger ones are scaled down. None does not clip.
        auxiliary_weight: Weight of the loss of an auxiliary head, at least 0; ignored by networks without such a head.
        drop_path_prob: Drop path probability of the last epoch, in [0, 1), reached linearly. It must be 0 for spaces without
            drop path.
        precision: Precision of the computation; "auto" is mixed precision on CUDA, and 32 bits on other devices and for
            supernets.
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
    """When a search ends: at the limit that is reached first. If the strategy runs trials, at least one limit must be given.

    Attributes:
        trials: Number of evaluated trials, at least 1; None sets no limit. One-shot strategies without `then` have no trials.
        seconds: Duration of the search in seconds, above 0; None sets no limit.
    """

    trials: Annotated[int, Field(ge=1)] | None = None
    seconds: Positive | None = None


class ExecutorEntry(JobRecord):
    """Where trials are evaluated.

    Attributes:
        kind: "inline" runs trials in the job's process, "processes" in worker processes, "ray" on a Ray cluster.
        workers: Number of trials that run at the same time, 1 to 4096; it must be 1 with "inline".
        cpus_per_trial: Number of cores that Ray reserves for each trial, at least 0; None reserves 1.
        gpus_per_trial: Number of GPUs, or share of one, that Ray reserves for each trial, at least 0; None reserves none.
        address: Address of a running Ray cluster; None starts one on this machine.

    Raises:
        pydantic.ValidationError: A setting of Ray is given with another `kind`, or `workers` is not 1 with "inline".
    """

    kind: Literal["inline", "processes", "ray"] = "inline"
    workers: Annotated[int, Field(ge=1, le=4096)] = 1
    cpus_per_trial: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    gpus_per_trial: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    address: str | None = None

    @model_validator(mode="after")
    def _fits_the_kind(self) -> ExecutorEntry:
        """Returns the record itself. Raises ValueError if `workers` or a setting of Ray does not fit `kind`."""
        if self.kind == "inline" and self.workers != 1:
            raise ValueError(f"workers = {self.workers}: inline runs one trial at a time; choose processes or ray for more")
        if self.kind != "ray" and self.ray_settings:
            raise ValueError(f"{', '.join(self.ray_settings)}: of ray, and kind is {self.kind}")
        return self

    @property
    def ray_settings(self) -> dict[str, Any]:
        """Those of `cpus_per_trial`, `gpus_per_trial` and `address` that are not None, by name."""
        return self.model_dump(include={"cpus_per_trial", "gpus_per_trial", "address"}, exclude_none=True)


class SearchJob(Job):
    """The content of the job file of a search.

    Attributes, besides those of `Job`:
        space: Model space to search.
        strategy: Strategy that proposes archs or trains a supernet.
        recipe: How the network of each trial, or the supernet, is trained.
        evaluator: The evaluator of the user's own that scores the archs. If None, the network of each arch is trained with
            `recipe`, and its score is its accuracy on the validation part.
        objectives: Direction of each score to optimize, by the name of the score. A list of names stands for their usual
            directions. The first one must be val_acc, by which the winner is chosen among the trials that meet the constraints.
        constraints: Upper bound of each constrained measure, by the name of the measure.
        budget: When the search ends.
        executor: Where trials are evaluated.
        retrain: How the winner is trained from newly initialised weights. If None, it keeps the weights of its trial or of the
            supernet.

    Raises:
        pydantic.ValidationError: A key or value is not allowed, or an objective has the wrong direction.
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
        """Returns a list of score names as a mapping from each name to its usual direction; returns anything else unchanged."""
        if isinstance(given, list) and all(isinstance(name, str) for name in given):
            return {name: DIRECTIONS.get(name, "maximize") for name in given}
        return given

    @field_validator("objectives")
    @classmethod
    def _check_directions(cls, objectives: dict[str, str]) -> dict[str, str]:
        """Returns the objectives. Raises ValueError if a direction is not the usual one or val_acc is not the first score."""
        wrong = [name for name, direction in objectives.items() if direction != DIRECTIONS[name]]
        if wrong:
            raise ValueError(f"{wrong[0]}: {objectives[wrong[0]]} is the wrong way; it is better to {DIRECTIONS[wrong[0]]} it")
        if next(iter(objectives)) != "val_acc":
            raise ValueError(f"{', '.join(objectives)}: val_acc must come first; the best in the first one is published")
        return objectives

    @property
    def limits(self) -> dict[str, float]:
        """The upper bound of each constrained measure, by the name of the measure."""
        return {str(name): bound for name, bound in self.constraints.items()}

    @property
    def max_trials(self) -> int | None:
        """The number of trials after which the search ends; None if there is no such limit."""
        return self.budget.trials
