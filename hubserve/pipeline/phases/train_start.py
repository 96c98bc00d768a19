"""Phase of a search for a smaller network: trains the whole network, or the weights that all networks cut from it share."""

import shutil
from functools import partial
from typing import Any

import torch

from hubserve.hub.pretrained import load_weights
from hubserve.jobs import EpochRow, FineTuneRecipe, Run
from hubserve.pipeline.phases.tune import written_progress
from hubserve.pipeline.resolve_shrinking import ResolvedShrinking
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.supernet.elastic_supernet import ElasticSupernet
from hubserve.supernet.sandwich_training import SandwichTraining
from hubserve.training.device import device_kind
from hubserve.training.finetuning.fine_tune import fine_tune
from hubserve.training.finetuning.layer_training import LayerTraining
from hubserve.training.finetuning.new_head import NewHead
from hubserve.training.trial_weights import WEIGHTS_FILE, save_weights

START, SCORES, UNFINISHED = "start", "scores.json", "unfinished"


def train_start(resolved: ResolvedShrinking, run: Run, status: StatusWriter) -> tuple[EpochRow, ...]:
    """Trains before the search and returns the scores of the whole network after each epoch; none if nothing is trained.

    The result is saved in start/scores.json; the weights of the whole network are saved in the same folder.
    """
    if resolved.start_share == 0:
        return ()
    folder = run.path / START
    found = load_or_compute(folder / SCORES, lambda: _train(resolved, run, status))
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return tuple(EpochRow.model_validate(row) for row in found["epochs"])


def start_supernet(resolved: ResolvedShrinking, run: Run) -> ElasticSupernet:
    """Returns the supernet whose largest network is the trained one; with the job's model, if `train_start` trains nothing."""
    space = resolved.space
    network = resolved.network.model
    if resolved.start_share:
        network = load_weights(space.inner, space.largest, run.path / START / WEIGHTS_FILE)
    # The channels of shared weights were sorted before they were trained.
    return ElasticSupernet(space, network.state_dict(), sort=resolved.job.weights == "fitted")


def start_recipe(resolved: ResolvedShrinking) -> FineTuneRecipe:
    """Returns the job's recipe with the part of its budget that is for this training; shared weights train all layers."""
    recipe = resolved.job.recipe
    minutes = None if recipe.minutes is None else recipe.minutes * resolved.start_share
    changes: dict[str, Any] = {"minutes": minutes, "epochs": resolved.start_epochs}
    if resolved.job.weights == "shared":  # All layers of the smaller networks have to learn.
        changes["early_layers"] = "train"
    return recipe.model_copy(update=changes)


def _train(resolved: ResolvedShrinking, run: Run, status: StatusWriter) -> dict[str, Any]:
    parts, recipe = resolved.parts, start_recipe(resolved)
    whole, training = _whole(resolved, status)
    history = fine_tune(
        whole,
        parts.train,
        parts.val,
        recipe,
        labels=parts.labels,
        seed=resolved.job.seed,
        folder=run.path / START / UNFINISHED,
        progress=written_progress(status, recipe),
        training=training,
    )
    save_weights(whole.model, run.path / START)
    return {"epochs": [row.model_dump() for row in history]}


def _whole(resolved: ResolvedShrinking, status: StatusWriter) -> tuple[NewHead, Any]:
    """Returns the network that is trained and the class that trains it."""
    network = resolved.network
    if resolved.job.weights == "fitted":
        status.begin("fine-tune", "fine-tuning the whole network")
        return network, LayerTraining
    status.begin("supernet", "training the shared weights")
    supernet = ElasticSupernet(resolved.space, network.model.state_dict())
    # Before the networks are made, whose tensors are views of these.
    supernet.to(device_kind("auto")).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    training = partial(SandwichTraining, supernet=supernet, random_networks=resolved.job.random_networks)
    return NewHead(network.space, supernet.network, network.head), training
