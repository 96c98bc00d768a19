"""Phase of a search for a smaller network: trains the weights that all networks cut from the model share."""

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
from hubserve.training.finetuning.new_head import NewHead
from hubserve.training.weights_file import WEIGHTS_FILE, save_weights

SHARED, SCORES, UNFINISHED = "shared", "scores.json", "unfinished"


def train_shared(resolved: ResolvedShrinking, run: Run, status: StatusWriter) -> tuple[EpochRow, ...]:
    """Trains the shared weights and returns the scores of the largest network after each epoch.

    The result is saved in shared/scores.json; the weights of the largest network are saved in the same folder.
    """
    folder = run.path / SHARED
    found = load_or_compute(folder / SCORES, lambda: _train(resolved, run, status))
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
    return tuple(EpochRow.model_validate(row) for row in found["epochs"])


def shared_weights(resolved: ResolvedShrinking, run: Run) -> ElasticSupernet:
    """Returns the supernet with its trained weights."""
    space = resolved.space
    network = load_weights(space.inner, space.largest, run.path / SHARED / WEIGHTS_FILE)
    return ElasticSupernet(space, network.state_dict(), sort=False)


def shared_recipe(resolved: ResolvedShrinking) -> FineTuneRecipe:
    """Returns the job's recipe with the part of its budget that is for the shared weights, for all layers."""
    job = resolved.job
    minutes = None if job.recipe.minutes is None else job.recipe.minutes * job.budget.shared_share
    changes = {"minutes": minutes, "epochs": job.shared_epochs, "early_layers": "train"}
    return job.recipe.model_copy(update=changes)


def _train(resolved: ResolvedShrinking, run: Run, status: StatusWriter) -> dict[str, Any]:
    status.begin("supernet", "training the shared weights")
    parts, recipe, network = resolved.parts, shared_recipe(resolved), resolved.network
    supernet = ElasticSupernet(resolved.space, network.model.state_dict())
    # Before the networks are made, whose tensors are views of these.
    supernet.to(device_kind("auto")).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    largest = NewHead(network.space, supernet.network, network.head)
    history = fine_tune(
        largest,
        parts.train,
        parts.val,
        recipe,
        labels=parts.labels,
        seed=resolved.job.seed,
        folder=run.path / SHARED / UNFINISHED,
        progress=written_progress(status, recipe),
        training=partial(SandwichTraining, supernet=supernet, random_networks=resolved.job.random_networks),
    )
    save_weights(largest.model, run.path / SHARED)
    return {"epochs": [row.model_dump() for row in history]}
