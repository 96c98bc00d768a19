"""The record of the search for a smaller network in a trained model: the kind of job with `start` and `strategy`.

    name: flowers-small
    start: {model: efficientnet-lite0}
    strategy: {name: RegularizedEvolution}
    data: {name: folder, folder: photos}
    recipe: {minutes: 15}
    constraints: {latency_ms: 5}       # or {latency_share: 0.5}: half of what the whole network takes
    publish: {name: flowers-small}

The networks that are searched are those that can be cut from the model: no larger in any kernel, expansion, width or depth.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hubserve.jobs.definition import JobRecord, Positive
from hubserve.jobs.fine_tune_job import FineTuneJob
from hubserve.jobs.search_job import MultiTrialEntry

CutMeasure = Literal["latency_ms", "latency_share", "params", "macs"]

StartWeights = Literal["fitted", "shared"]


class CutBudget(JobRecord):
    """When the search among the networks ends, at the limit that is reached first, and how the rest is divided.

    Attributes:
        trials: Largest number of networks that are scored, at least 1.
        search_share: Share of `recipe.minutes` after which no further network is scored, in (0, 0.5]; without minutes there is
            no such limit.
        start_share: Share of `recipe.minutes`, or of `recipe.epochs`, for the training before the search, in [0, 1): that of
            the whole network, or that of the shared weights. The rest trains the network that was found. A model whose classes
            are those of the data is not trained before its blocks are fitted.
    """

    trials: Annotated[int, Field(ge=1)] = 600
    search_share: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    start_share: Annotated[float, Field(ge=0, lt=1)] = 0.4


class ShrinkJob(FineTuneJob):
    """The search for a smaller network in a trained model; the keys of a job file with `start` and `strategy`.

    The recipe trains the whole network or the weights that all networks share, and then the network that was found; its
    `devices` must be 1.

    Attributes, besides those of FineTuneJob:
        strategy: Strategy that searches, one that proposes archs.
        constraints: Upper bounds, at least one: latency in milliseconds, or as a share in (0, 1) of that of the whole network
            measured on this machine; parameters; multiply-accumulates.
        budget: When the search ends, and how the recipe's minutes or epochs are divided.
        weights: What the networks begin with. "fitted": the whole network is fine-tuned, the blocks of smaller ones are fitted
            to its features by least squares, which takes seconds, and networks are scored by how near they come to them.
            "shared": the weights of all networks are trained together, and networks are scored by their accuracy on the
            validation images.
        random_networks: Number of random networks that are trained in each step besides the largest and the smallest one, 0 to
            16, if `weights` is "shared".

    Raises:
        pydantic.ValidationError: A key or value is not allowed, there are both constraints of latency, `recipe.epochs` is 1, or
            `budget.start_share` is 0 and `weights` is "shared".
    """

    strategy: MultiTrialEntry = MultiTrialEntry(name="RegularizedEvolution", arguments={})
    constraints: dict[CutMeasure, Positive] = Field(min_length=1)
    budget: CutBudget = CutBudget()
    weights: StartWeights = "fitted"
    random_networks: Annotated[int, Field(ge=0, le=16)] = 1

    @model_validator(mode="after")
    def _has_room(self) -> "ShrinkJob":
        share, recipe = self.constraints.get("latency_share"), self.recipe
        if share is not None and "latency_ms" in self.constraints:
            raise ValueError("constraints has latency_ms and latency_share; give one of the two")
        if share is not None and share >= 1:
            raise ValueError(f"constraints.latency_share = {share:g} is a share of the whole network's latency, below 1")
        if recipe.devices > 1:
            raise ValueError(
                f"recipe.devices = {recipe.devices}: a search for a smaller network trains on one device; leave devices out. "
                "`hubserve finetune` trains on several"
            )
        if recipe.epochs is not None and recipe.epochs < 2:
            raise ValueError("recipe.epochs = 1: at least 2, one before the search and one for the network that is found")
        if self.weights == "shared" and self.budget.start_share == 0:
            raise ValueError("budget.start_share = 0: shared weights have to be trained; allow more, or choose weights: fitted")
        return self

    @property
    def limits(self) -> dict[str, float]:
        """The upper bound of each constrained measure; without `latency_share`, whose bound is measured first."""
        return {str(name): bound for name, bound in self.constraints.items() if name != "latency_share"}

    @property
    def max_trials(self) -> int | None:
        """Number of trials after which the search ends."""
        return self.budget.trials
