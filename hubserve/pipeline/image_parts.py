"""`load_parts`: finds the images of a fine-tuning job and returns them in three parts, as `ImageParts`."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubserve.data.own_images import PLAIN, Reading, read_scan
from hubserve.data.parts import PinnedParts
from hubserve.data.propose_fit_and_size import propose_fit, propose_size
from hubserve.data.scan import Scan
from hubserve.errors import JobError
from hubserve.jobs import FineTuneJob
from hubserve.preprocess import Fit, Preprocess
from hubserve.similar_names import suggest
from hubserve.training.finetuning.square_images import SquareImages
from hubserve.typed_arguments import typed_arguments

SETTINGS = ("val_share", "check", "image_column", "label_column", "part_column")
"""Names of the settings that `data.settings` of a fine-tuning job may have."""


@dataclass(frozen=True)
class ImageParts:
    """The labelled images of a fine-tuning job in three parts.

    Attributes:
        found: Result of the scan that found the images.
        train: Training images.
        val: Validation images.
        test: Test images; may be empty.
        labels: Name of each class, in the order of the logits.
        preprocess: Preprocessing of the images in all parts.
        notes: Messages of the scan for the user.
        check_seconds: Seconds that the check of the images took.
    """

    found: Scan
    train: SquareImages
    val: SquareImages
    test: SquareImages
    labels: tuple[str, ...]
    preprocess: Preprocess
    notes: tuple[str, ...]
    check_seconds: float


def load_parts(data: Path | str, job: FineTuneJob, start: Preprocess, *, reading: Reading = PLAIN) -> ImageParts:
    """Finds the images of a fine-tuning job, assigns them to parts, and returns the parts.

    Args:
        data: Folder, listing, or address of a data set of the Hugging Face hub, as `hubserve.data.scan.scan` accepts it.
        job: Job whose data settings, image size, fit and seed are used.
        start: Preprocessing of the model that is fine-tuned; all but the sizes and the fit is kept.
        reading: Parts of an earlier scan to reuse, and a progress callback for the check of the images.

    Raises:
        DatasetError: The images cannot be trained on, see `hubserve.data.scan.scan`.
        MissingExtraError: A library that reads the data is not installed.
        JobError: A setting is unknown, or has a value that is not allowed.
    """
    settings = scan_settings(job)
    began = time.monotonic()
    found = read_scan(data, reading, seed=job.seed, **settings)
    check_seconds = time.monotonic() - began
    size, fit, notes = _size_and_fit(found, job, start, reading.pinned)
    # The whole shorter side: the network is trained on what this keeps, so nothing needs to be cut off.
    preprocess = start.model_copy(update={"input_size": size, "resize": size, "fit": fit})
    return ImageParts(
        found=found,
        train=SquareImages(found.items("train"), preprocess),
        val=SquareImages(found.items("val"), preprocess),
        test=SquareImages(found.items("test"), preprocess),
        labels=found.labels,
        preprocess=preprocess,
        notes=(*notes, *found.notes),
        check_seconds=check_seconds,
    )


def scan_settings(job: FineTuneJob) -> dict[str, Any]:
    """Returns the data settings of a fine-tuning job, with the types that the scan of the images asks for.

    Raises:
        JobError: A setting is unknown, or has a value that is not allowed.
    """
    unknown = next((name for name in job.data.settings if name not in SETTINGS), None)
    if unknown is not None:
        raise JobError(f"data: the images of a fine-tuning have no setting {unknown!r}. {suggest(unknown, SETTINGS)}")
    return typed_arguments(read_scan, job.data.settings, where="data.settings.", error=JobError)


def _size_and_fit(found: Scan, job: FineTuneJob, start: Preprocess, pinned: PinnedParts | None) -> tuple[int, Fit, list[str]]:
    """Returns the input size and the fit of a job, and a sentence for each of the two that was proposed from the images.

    A resumed run keeps the size and the fit with which it began, even if its data have changed since.
    """
    notes = []
    fit = job.images.fit or (pinned.fit if pinned else None)
    if fit is None:
        fit, reason = propose_fit(found)
        notes.append(reason)
    size = job.images.size or (pinned.size if pinned else None)
    if size is None:
        size, reason = propose_size(found, fit=fit, trained_size=start.input_size)
        notes.append(reason)
    return size, fit, notes
