"""`SearchJob`, the kind of job with `space` and `strategy`, and its records; `hubserve.jobs.definition` has an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hubserve.jobs.definition import Job, JobRecord, Positive, Share
from hubserve.jobs.front_and_baselines import Baselines, SearchPublish
from hubserve.similar_names import suggest

Measure = Literal["params", "macs", "latency_ms"]

ZeroCostName = Literal["naswot", "jacov", "synflow", "snip", "zen"]
"""Name of a zero-cost score (`hubserve.benchmarks.zero_cost`), by which a search can filter archs, or be driven."""

Score = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.@-]{0,59}$")]
"""Name of a score: one of `DIRECTIONS`, or one that an evaluator of the user's own gives."""

TRAINED_SCORES = {"val_acc": "maximize", "val_loss": "minimize"}
"""Scores of trained networks, one of which is the first objective: accuracy of classifiers, loss of other networks."""

DIRECTIONS = dict.fromkeys(get_args(Measure), "minimize") | TRAINED_SCORES | dict.fromkeys(get_args(ZeroCostName), "maximize")
"""The scores that are known by name, and whether each is maximized or minimized."""


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


class PrunerEntry(MultiTrialEntry):
    """What ends trials of a search early, because of the scores that they have after an epoch.

    Attributes:
        name: "SuccessiveHalving", "Hyperband", "Median" or "Percentile": pruners of Optuna. Or the import path of a subclass of
            `optuna.pruners.BasePruner`, or the name of an entry point of the group "hubserve.pruners".
        arguments: Keyword arguments of that class, such as `reduction_factor`.
    """


class EvaluatorEntry(JobRecord):
    """The evaluator that scores the archs of a search.

    Attributes:
        name: "ZeroCost", which scores untrained networks; or, for an evaluator of the user's own, an import path such as
            "mypkg.scores:accuracy" or the name of an entry point of the group "hubserve.evaluators". Whether there is one of
            this name is checked with the job, by `hubserve.pipeline.evaluators.check_evaluator`.
        arguments: Arguments of the function or class.
    """

    name: str
    arguments: dict[str, Any] = Field({})

    @property
    def score(self) -> Score:
        """Name of the score that is the first objective: the zero-cost score of "ZeroCost", "val_acc" of all others."""
        given = self.arguments.get("score", "naswot") if self.name == "ZeroCost" else None
        return cast("Score", given) if given in get_args(ZeroCostName) else "val_acc"


class FilterEntry(JobRecord):
    """A filter of archs before they are trained: those with a low zero-cost score are refused, as by a constraint.

    Attributes:
        score: Name of the score.
        quantile: Share, above 0 and below 1, of random archs of the space whose scores are below the bound.
        archs: Number of random archs that are scored for it, 2 to 10,000.
        images: Number of training images by which archs are scored, 2 to 1024.
    """

    score: ZeroCostName = "naswot"
    quantile: Annotated[float, Field(gt=0, lt=1)] = 0.5
    archs: Annotated[int, Field(ge=2, le=10_000)] = 100
    images: Annotated[int, Field(ge=2, le=1024)] = 64


class Recipe(JobRecord):
    """How networks are trained: arguments of `hubserve.evaluator.Classification`.

    A supernet is trained in the same way, with these differences: "auto" precision is 32 bits, and DARTS and GumbelDARTS refuse
    `drop_path_prob`.

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
        devices: Number of processes that train together, 1 to 64, each on its own GPU, or all on the CPU without one. Each
            takes `batch_size` images in a step. Above 1, `recipe` must train the supernet of RandomOneShot.
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
    devices: Annotated[int, Field(ge=1, le=64)] = 1


class Retraining(Recipe):
    """How the winner of a search is trained, once it is chosen.

    Attributes, besides those of `Recipe`:
        start: "new" begins with newly initialised weights, "inherited" with those that the search left: of the winner's trial,
            or of the supernet with batch norms recalibrated. The latter is a fine-tuning, for few epochs and with a lower
            learning rate.
    """

    start: Literal["new", "inherited"] = "new"


class Budget(JobRecord):
    """When a search ends: at the limit that is reached first. If the strategy runs trials, at least one limit must be given.

    Attributes:
        trials: Number of evaluated trials, at least 1; None sets no limit. One-shot strategies without `then` have no trials.
        seconds: Duration of the search in seconds, above 0; None sets no limit.
        max_trial_seconds: Duration of one trial in seconds, above 0, after which it is ended and counts as failed, while the
            search goes on; None sets no limit. It does not end the search, and it has no effect on the training of a supernet.
    """

    trials: Annotated[int, Field(ge=1)] | None = None
    seconds: Positive | None = None
    max_trial_seconds: Positive | None = None


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
        evaluator: The evaluator that scores the archs. If None, the network of each arch is trained with `recipe`, and its
            score is its accuracy, or its loss if it does not classify, on the validation part.
        objectives: Direction of each score to optimize, by the name of the score. A list of names stands for their usual
            directions, or for "maximize". By the first one the winner is chosen among the trials that meet the constraints. It
            is val_acc, or val_loss for networks that do not classify; the score of the evaluator "ZeroCost"; or with another
            `evaluator` any score that this gives. The default is the score of "ZeroCost", or else val_acc.
        constraints: Upper bound, above 0, of each constrained measure: "params", "macs" or "latency_ms".
        zero_cost_filter: Filter of archs before they are trained. If None, all archs that meet the constraints are trained.
        budget: When the search ends.
        pruner: Ends trials early that are worse than others after as many epochs; None trains all to their end. It needs a
            strategy that trains each arch, and one objective.
        executor: Where trials are evaluated.
        retrain: How the winner is trained, from new or from inherited weights. If None, it keeps the weights of its trial or of
            the supernet.
        warm_start: Earlier searches of the same space with the same data and recipe, whose complete trials are added before the
            first trial: ids of runs, or files or folders of studies, whose data and recipe are not compared.
        baselines: Networks made by hand that are drawn beside those that the search finds.
        publish: How the network is published, and how many members of the Pareto front with it.

    Raises:
        pydantic.ValidationError: A key or value is not allowed; an objective is unknown or has the wrong direction or place.
    """

    space: SpaceEntry
    strategy: StrategyEntry
    recipe: Recipe = Recipe()
    evaluator: EvaluatorEntry | None = None
    objectives: dict[Score, Literal["maximize", "minimize"]] = Field(
        default_factory=lambda known: _usual_objectives(known), min_length=1
    )
    constraints: dict[Measure, Positive] = Field({})
    zero_cost_filter: FilterEntry | None = None
    budget: Budget = Budget()
    pruner: PrunerEntry | None = None
    executor: ExecutorEntry = ExecutorEntry()
    retrain: Retraining | None = None
    warm_start: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=20)] = ()
    baselines: Baselines = Baselines()
    publish: SearchPublish | None = SearchPublish()

    @field_validator("warm_start", mode="before")
    @classmethod
    def _one_search(cls, given: Any) -> Any:
        """Returns the id of one run as a list; returns anything else unchanged."""
        return [given] if isinstance(given, str) else given

    @field_validator("objectives", mode="before")
    @classmethod
    def _add_directions(cls, given: Any) -> Any:
        """Returns a list of score names as a mapping to their usual directions, or "maximize"; anything else as it is."""
        if isinstance(given, list) and all(isinstance(name, str) for name in given):
            return {name: DIRECTIONS.get(name, "maximize") for name in given}
        return given

    @field_validator("objectives")
    @classmethod
    def _check_objectives(cls, objectives: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        """Returns the objectives.

        Raises:
            ValueError: A direction is not the usual one, a score is unknown and the job names no evaluator of the user's own,
                the first score is not one of the evaluator, or a zero-cost score is not the first.
        """
        evaluator = info.data.get("evaluator")
        is_own = "evaluator" not in info.data or (evaluator is not None and evaluator.name != "ZeroCost")
        for name, direction in objectives.items():
            usual = DIRECTIONS.get(name)
            if usual is None and not is_own:
                raise ValueError(
                    f"{name!r} is not one of {', '.join(DIRECTIONS)}. {suggest(name, DIRECTIONS)} Other scores are those of an "
                    "evaluator of your own: give `evaluator`"
                )
            if usual not in (None, direction):
                raise ValueError(f"{name}: {direction} is the wrong way; it is better to {usual} it")
        first, *others = objectives
        trained = info.data.get("evaluator") is None and first in TRAINED_SCORES
        if first in get_args(Measure) if is_own else not trained and first != _first_score(info.data):
            wanted = "a score of the evaluator" if is_own else _first_score(info.data)
            raise ValueError(f"{', '.join(objectives)}: {wanted} must come first; the best in the first one is published")
        unknown = [name for name in others if name in get_args(ZeroCostName) and not is_own]
        if unknown:
            raise ValueError(f"{unknown[0]}: a zero-cost score is the first objective of the evaluator ZeroCost, or none")
        return objectives

    @property
    def limits(self) -> dict[str, float]:
        """The upper bound of each constrained measure, by the name of the measure."""
        return {str(name): bound for name, bound in self.constraints.items()}

    @property
    def max_trials(self) -> int | None:
        """The number of trials after which the search ends; None if there is no such limit."""
        return self.budget.trials


def _first_score(known: Mapping[str, Any]) -> Score:
    """Returns the score that is the first objective; `known` has the validated keys of the job that come before it."""
    evaluator: EvaluatorEntry | None = known.get("evaluator")
    return "val_acc" if evaluator is None else evaluator.score


def _usual_objectives(known: Mapping[str, Any]) -> dict[Score, Literal["maximize", "minimize"]]:
    """Returns the objectives of a job that names none: the score of the evaluator alone; `known` as for `_first_score`."""
    return {_first_score(known): "maximize"}
