"""`fine_tuned_source`: collects the network and the manifest entries from which a fine-tuning's package is written."""

import numpy as np
import torch
from torch import nn

from hubserve.cards.card import Metric
from hubserve.export.model_source import ModelSource
from hubserve.jobs import Run
from hubserve.package.manifest import Provenance
from hubserve.package.runner import Batch
from hubserve.pipeline.phases.tune import TunedNetwork
from hubserve.pipeline.resolve_fine_tuning import ResolvedFineTuning
from hubserve.training.finetuning.square_images import SquareImages

COMPARED_BATCHES, COMPARED_IMAGES = 2, 16


def fine_tuned_source(resolved: ResolvedFineTuning, tuned: TunedNetwork, test_acc: float | None, run: Run) -> ModelSource:
    """Returns the fine-tuned network together with its labels, preprocessing and provenance for the package's manifest.

    Args:
        resolved: The job.
        tuned: Its network.
        test_acc: Accuracy on the test images, in [0, 1]; None if there are no test images.
        run: The run.
    """
    start, parts, job = resolved.source, resolved.parts, resolved.job
    metric = None if test_acc is None else Metric(dataset=f"{job.name} (test)", top1=round(100 * test_acc, 4))
    provenance = Provenance(
        origin="fine-tuning",
        paper=start.provenance.paper,
        # Weights that are derived from licensed weights keep the licence.
        licence=start.provenance.licence,
        metric=metric,
        weights="fine-tuned",
        fine_tuning={
            "job": job.name,
            "run": run.id,
            "start": start.name,
            "start_weights": start.provenance.weights,
            "seed": job.seed,
            "data": job.data.model_dump(mode="json", exclude_none=True),
            "data_found": parts.found.outline(),
            "images": {"train": len(parts.train), "val": len(parts.val), "test": len(parts.test)},
            "recipe": job.recipe.model_dump(mode="json", exclude_none=True),
            "epochs": tuned.history[-1].epoch,
            "best_epoch": tuned.best.epoch,
            "val_acc": tuned.best.val_acc,
            "test_acc": test_acc,
        },
    )
    return ModelSource(
        name=job.store_name,
        model=tuned.model,
        space=start.space,
        settings=tuned.settings,
        arch=start.arch,
        preprocess=parts.preprocess,
        labels=parts.labels,
        provenance=provenance,
    )


def prepared_batches(images: SquareImages) -> list[Batch]:
    """Returns at most two batches of 16 normalised images, on which the exported formats are compared with PyTorch."""
    count = min(len(images), COMPARED_BATCHES * COMPARED_IMAGES)
    prepared = images.normalise(images.squares(range(count)))
    return [np.ascontiguousarray(batch.numpy()) for batch in torch.split(prepared, COMPARED_IMAGES)]  # type: ignore[no-untyped-call]


@torch.no_grad()
def accuracy(model: nn.Module, images: SquareImages, batch_size: int = 128) -> float:
    """Returns the top-1 accuracy of a network on `images`, in [0, 1]; the network must be in eval mode."""
    hits = 0
    for begin in range(0, len(images), batch_size):
        indices = range(begin, min(begin + batch_size, len(images)))
        logits = model(images.normalise(images.squares(indices)))
        hits += int((logits.argmax(1) == images.labels[begin : begin + batch_size]).sum())
    return hits / len(images)
