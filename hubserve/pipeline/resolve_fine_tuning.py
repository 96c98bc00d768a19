"""`resolve_fine_tuning`: loads the model and the images that the definition of a fine-tuning job names."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubserve.data.own_images import PLAIN, Reading
from hubserve.data.scan import Scan
from hubserve.errors import DatasetError, EvaluatorError, HubserveError, JobError
from hubserve.export.model_source import ModelSource
from hubserve.export.named_source import named_source
from hubserve.jobs import UNLIMITED, FineTuneJob, JobLimits
from hubserve.pipeline.check_definition import check_fine_tuning
from hubserve.pipeline.data_place import data_place, within
from hubserve.pipeline.image_parts import ImageParts, load_parts
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.preprocess import Preprocess
from hubserve.training.distributed import check_devices
from hubserve.training.finetuning.fine_tune import check_amounts, class_weights, training_settings

MOST_LABELS = 10
"""Largest number of class names that `facts` lists."""


@dataclass(frozen=True, kw_only=True)
class ResolvedFineTuning(ResolvedJob):
    """A fine-tuning job with its model and images, as `hubserve.pipeline.resolve_job` returns it.

    Attributes:
        job: The definition.
        source: The model that is fine-tuned.
        parts: The images in three parts, with their preprocessing.
    """

    job: FineTuneJob
    source: ModelSource
    parts: ImageParts

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of the images."""
        return self.parts.preprocess

    @property
    def scan(self) -> Scan:
        """What was found in the user's files."""
        return self.parts.found

    @property
    def notes(self) -> list[str]:
        """Messages for the user about export formats that are left out, and those of the scan of the images."""
        return [*super().notes, *self.parts.notes]

    def facts(self) -> dict[str, Any]:
        """Returns the lines that `hubserve finetune --check` prints, by name; None for a line that is not printed."""
        parts, recipe = self.parts, self.job.recipe
        counts = " / ".join(f"{len(part):,}" for part in (parts.train, parts.val, parts.test))
        more = len(parts.labels) - MOST_LABELS
        limits = ((recipe.minutes, "minutes"), (recipe.epochs, "epochs"))
        return {
            "start": f"{self.source.name}, an arch of {self.source.space}",
            "data": f"{counts} images to train, validate, test",
            **parts.found.facts(),
            "classes": ", ".join(parts.labels[:MOST_LABELS]) + (f" and {more} more" if more > 0 else ""),
            "input_size": self.input_size,
            "budget": ", ".join(f"{amount:g} {unit}" for amount, unit in limits if amount is not None),
            "devices": recipe.devices if recipe.devices > 1 else None,
            "published_as": self.job.store_name if self.job.publish else None,
            "notes": "; ".join(self.notes) or None,
        }


def resolve_fine_tuning(
    job: FineTuneJob, *, where: Path, limits: JobLimits = UNLIMITED, reading: Reading = PLAIN
) -> ResolvedFineTuning:
    """Loads the model and the images of a fine-tuning job; arguments and errors are those of `resolve_job`."""
    check_fine_tuning(job, limits)
    try:
        source = named_source(job.start.model)
        preprocess = source.image_preprocess
    except HubserveError as error:
        raise JobError(f"start.model: {error}") from error
    place = data_place(job.data, where, limits)
    if place is None:
        raise JobError("data.folder: a fine-tuning needs its images: give data.folder, data.file or data.dataset")
    try:
        parts = load_parts(place, job, preprocess, reading=within(reading, limits))
    except (DatasetError, TypeError) as error:
        raise JobError(f"data: {error}") from error
    try:
        check_devices(training_settings(job.recipe))
        check_amounts(job.recipe, len(parts.train), len(parts.val))
        class_weights(job.recipe, parts.train.labels, parts.labels)
    except EvaluatorError as error:
        raise JobError(str(error)) from error
    return ResolvedFineTuning(job=job, limits=limits, source=source, parts=parts)
