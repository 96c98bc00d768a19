"""Phase of a search for a smaller network: finds the best network within the limits, and prepares its own training."""

import time
from dataclasses import replace
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from hubserve.errors import NothingFeasibleError
from hubserve.experiment import Constraint, NasExperiment
from hubserve.experiment.constraints import ComplexityMeasure
from hubserve.hub.pretrained import load_weights
from hubserve.jobs import Run
from hubserve.latency.arch_latency import NAME
from hubserve.pipeline.phases.measure_limit import MeasuredLimit, measured_in_turns, predicted_latency
from hubserve.pipeline.phases.search import SEARCH, SearchProgress, write_trials
from hubserve.pipeline.phases.train_start import start_supernet
from hubserve.pipeline.resolve_fine_tuning import ResolvedFineTuning
from hubserve.pipeline.resolve_shrinking import ResolvedShrinking
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.space import Arch
from hubserve.supernet.fitted_evaluator import FittedEvaluator
from hubserve.supernet.subnet_evaluator import SubnetEvaluator
from hubserve.training.device import OneDevice
from hubserve.training.evaluator import Trial
from hubserve.training.finetuning.fine_tune import training_settings
from hubserve.training.kept_memory import kept_memory
from hubserve.training.trial_weights import WEIGHTS_FILE, save_weights

FOUND, FOLDER = "found.json", "found"

MOST_CANDIDATES = 8
"""Largest number of networks, the best first, that are measured until one meets the limit; then the smallest one is."""

LEAST_SHARE = 0.25
"""Least share of the recipe's minutes for the training of the network that was found."""


class FoundNetwork(BaseModel):
    """The network that is trained alone, exported and published.

    Attributes:
        number: Number of the trial that scored it; None for the smallest network, if no scored one met the limit.
        arch: Chosen value of each choice by label.
        scores: Scores on the validation images before its own training, `latency_ms` and `full_latency_ms`, the latency of
            the whole network that was measured in turns with it.
        networks: Number of networks that were scored.
        seconds: Seconds of the search.
    """

    model_config = ConfigDict(frozen=True)

    number: int | None
    arch: dict[str, Any]
    scores: dict[str, float]
    networks: int
    seconds: float

    def facts(self) -> dict[str, Any]:
        """Returns what the provenance of a package says about how its network was found."""
        return {"scores": dict(self.scores), "networks": self.networks}


def find_network(resolved: ResolvedShrinking, limit: MeasuredLimit, run: Run, status: StatusWriter) -> FoundNetwork:
    """Scores networks and returns the best one that meets the limits when it is measured.

    At most `MOST_CANDIDATES` are measured, each in turns with the whole network, of whose latency `latency_share` is a share.
    If none meets the limit on latency, the smallest network is taken, if it does. The result is saved in found.json, the
    weights of the network in found/.

    Args:
        resolved: The job.
        limit: Latencies measured before, and the limit by which predicted latencies are refused.
        run: The run.
        status: Writer of the run's status.

    Raises:
        NothingFeasibleError: None meets them; nothing is published.
    """
    with kept_memory(torch.device("cpu")):  # Blocks are fitted, and networks scored.
        found = load_or_compute(run.path / FOUND, lambda: _find(resolved, limit, run, status).model_dump())
    return FoundNetwork.model_validate(found)


def found_job(resolved: ResolvedShrinking, found: FoundNetwork, run: Run) -> ResolvedFineTuning:
    """Returns the job that fine-tunes the network that was found, with what is left of the recipe's minutes or epochs.

    Of the minutes it gets at least the share `LEAST_SHARE`.
    """
    job, space, source = resolved.job, resolved.space, resolved.source
    recipe = job.recipe
    epochs = None if resolved.start_epochs is None or recipe.epochs is None else recipe.epochs - resolved.start_epochs
    minutes = None
    if recipe.minutes is not None:
        left = recipe.minutes * (1 - resolved.start_share) - found.seconds / 60
        minutes = max(left, LEAST_SHARE * recipe.minutes)
    settings = {**source.settings, "num_labels": space.inner.num_labels}
    model = load_weights(space.inner, found.arch, run.path / FOLDER / WEIGHTS_FILE)
    return ResolvedFineTuning(
        job=job.model_copy(update={"recipe": recipe.model_copy(update={"minutes": minutes, "epochs": epochs})}),
        limits=resolved.limits,
        source=replace(source, model=model, settings=settings, arch=found.arch),
        parts=resolved.parts,
    )


def _find(resolved: ResolvedShrinking, limit: MeasuredLimit, run: Run, status: StatusWriter) -> FoundNetwork:
    began = time.monotonic()
    status.begin("search", "searching a smaller network")
    job = resolved.job
    evaluator = _evaluator(resolved, run)
    measures = {} if limit.limit_ms is None else {NAME: predicted_latency(resolved, limit, run, status)}
    bounds = job.limits if limit.limit_ms is None else {**job.limits, NAME: limit.limit_ms}
    progress = SearchProgress(status)
    experiment = progress.experiment = NasExperiment(
        resolved.space,
        evaluator,
        resolved.strategy,
        name=run.id,
        folder=run.path / SEARCH,
        max_trials=job.budget.trials,
        max_seconds=None if job.recipe.seconds is None else job.recipe.seconds * job.budget.search_share,
        constraints=[Constraint(name, "<=", bound) for name, bound in bounds.items()],
        measures=measures,
        input_shape=(3, resolved.input_size, resolved.input_size),
        seed=job.seed,
        progress=False,
        on_trial=progress,
    )
    reason = experiment.run()
    progress.experiment = None
    write_trials(experiment, status)
    status.progress(f"{reason}; choosing the network")
    number, arch, latencies = _choose(experiment, resolved, limit, run)
    network = evaluator.network(arch)
    scores = next((t.scores for t in experiment.trials if t.number == number), None)
    scores = scores or evaluator.evaluate(resolved.space, arch, Trial())
    save_weights(network.to("cpu").to(memory_format=torch.contiguous_format), run.path / FOLDER)  # type: ignore[call-overload]
    return FoundNetwork(
        number=number,
        arch=arch,
        scores={**scores, **latencies},
        networks=len([t for t in experiment.trials if t.state == "complete"]),
        seconds=time.monotonic() - began,
    )


def _evaluator(resolved: ResolvedShrinking, run: Run) -> SubnetEvaluator | FittedEvaluator:
    parts, job = resolved.parts, resolved.job
    supernet = start_supernet(resolved, run)
    if job.weights == "fitted":
        return FittedEvaluator(supernet, parts.train, seed=job.seed)
    device = OneDevice(training_settings(job.recipe))
    return SubnetEvaluator(supernet, parts.train, parts.val, device, seed=job.seed)


def _choose(
    experiment: NasExperiment, resolved: ResolvedShrinking, limit: MeasuredLimit, run: Run
) -> tuple[int | None, Arch, dict[str, float]]:
    """Returns number, arch and measured latencies in milliseconds of the best network that meets the limit.

    Raises:
        NothingFeasibleError: No network meets the limits, or none does when it is measured.
    """
    candidates: list[tuple[int | None, Arch]] = [(t.number, t.arch) for t in experiment.top_trials(MOST_CANDIDATES)]
    fastest: float | None = None
    if limit.limit_ms is not None and _is_small_enough(resolved, resolved.space.smallest):
        candidates.append((None, resolved.space.smallest))
    for number, arch in candidates:
        archs = {NAME: arch, f"full_{NAME}": resolved.space.largest}
        latencies = measured_in_turns(resolved, archs, run)
        share, latency = resolved.job.constraints.get("latency_share"), latencies[NAME]
        bound = latencies[f"full_{NAME}"] * share if share is not None else limit.limit_ms
        if bound is None or latency <= bound:
            return number, arch, latencies
        fastest = latency if fastest is None else min(fastest, latency)
    if fastest is None:
        raise NothingFeasibleError(
            f"no network meets {resolved.job.constraints}: {experiment.stop_reason}. Allow more; nothing was published"
        )
    raise NothingFeasibleError(
        f"none of {len(candidates)} networks meets {NAME} <= {limit.limit_ms:.3g} when it is measured: the fastest takes "
        f"{fastest:.3g} ms. A quieter machine or a larger limit may help; nothing was published"
    )


def _is_small_enough(resolved: ResolvedShrinking, arch: Arch) -> bool:
    """Returns whether an arch that no trial scored meets the constraints on parameters and multiply-accumulates."""
    sizes = ComplexityMeasure((3, resolved.input_size, resolved.input_size))(resolved.space, arch)
    return all(sizes[name] <= bound for name, bound in resolved.job.limits.items() if name in sizes)
