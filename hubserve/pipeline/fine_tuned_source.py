"""`fine_tuned_source`: collects the network and the manifest entries from which a fine-tuning's package is written."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from torch import Tensor

from hubserve.cards.card import Metric
from hubserve.data.names import shown
from hubserve.export.model_source import ModelSource
from hubserve.jobs import Run
from hubserve.package.manifest import Provenance
from hubserve.package.runner import Batch
from hubserve.pipeline.phases.test import LabelledParts, TestedNetwork
from hubserve.pipeline.phases.tune import TunedNetwork
from hubserve.pipeline.resolve_fine_tuning import ResolvedFineTuning
from hubserve.training.finetuning.square_images import SquareImages

COMPARED_BATCHES, COMPARED_IMAGES = 2, 16
TESTED_BATCH = 64


def fine_tuned_source(
    resolved: ResolvedFineTuning,
    tuned: TunedNetwork,
    tested: TestedNetwork,
    run: Run,
    shrinking: Mapping[str, Any] | None = None,
) -> ModelSource:
    """Returns the fine-tuned network together with its labels, preprocessing and provenance for the package's manifest.

    Args:
        resolved: Job that was run, with its model and images.
        tuned: Fine-tuned network.
        tested: Accuracy and temperature of the network.
        run: Run whose id is recorded in the provenance.
        shrinking: How the network was cut from a larger one, for the provenance; None if it was not.
    """
    test_acc = tested.test_acc
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
            "data_sha256": parts.found.sha256,
            "division": parts.found.how,
            "data_found": parts.found.outline(),
            "images": {"train": len(parts.train), "val": len(parts.val), "test": len(parts.test)},
            "recipe": job.recipe.model_dump(mode="json", exclude_none=True),
            "epochs": tuned.history[-1].epoch,
            "best_epoch": tuned.best.epoch,
            "val_acc": tuned.best.val_acc,
            "test_acc": test_acc,
            **({} if shrinking is None else {"shrinking": dict(shrinking)}),
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
        temperature=tested.temperature,
        accuracy=tested.accuracy,
    )


def prepared_batches(images: SquareImages) -> list[Batch]:
    """Returns at most two batches of at most 16 normalised images, on which exported formats are compared with PyTorch.

    Each batch is (n, 3, input_size, input_size) float32. Raises DatasetError if an image cannot be read.
    """
    batches = islice(images.batches(COMPARED_IMAGES), COMPARED_BATCHES)
    return [images.normalise(squares).numpy() for squares, _ in batches]


def labelled_parts(resolved: ResolvedFineTuning) -> LabelledParts:
    """Returns the validation and test images of a fine-tuning as the argument `parts` of `phases.test.test`."""
    parts = resolved.parts
    return LabelledParts(
        dataset=resolved.job.name,
        labels=parts.labels,
        val=lambda: _batches(parts.val),
        test=lambda: _batches(parts.test),
        files=[shown(image.file) for image in parts.found.images if image.part == "test"],
    )


def _batches(images: SquareImages) -> Iterator[tuple[Tensor, Tensor]]:
    return ((images.normalise(squares), labels) for squares, labels in images.batches(TESTED_BATCH))
