"""Pins the data of a run: which image is in which part is written when it begins, and holds whenever it goes on.

Of the user's own images, each file with its hash is written to parts.json: files that are new or have changed since are left
out, see `hubserve.data.scan_parts.keep_pinned`. Data of a function of the user's own cannot be divided by that record: where
they are image files, a run whose function divides them in another way is refused. Of all other data, the labels and the number
of items of each part are written to data.json, and a run is refused where they have changed.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubserve.atomic import write_atomic
from hubserve.data.check_pool import Advance
from hubserve.data.folder_walk import named
from hubserve.data.names import shown
from hubserve.data.own_images import Reading
from hubserve.data.parts import PINNED, PinnedParts, read_pinned
from hubserve.data.scan import CheckOption, Scan
from hubserve.errors import DatasetError, JobError
from hubserve.jobs import Run
from hubserve.pipeline.resolved_job import ResolvedJob
from hubserve.pipeline.resolved_search import ResolvedSearch

ITEMS = "data.json"
"""File of a run folder with the labels and numbers of items of data that are not the user's images; for those, `PINNED`."""

ADVICE = "put the data back as they were, or start a new run"
"""What to do where the data of a run have changed."""


def reading_of(run: Run, advance: Advance, check: CheckOption | None = None) -> Reading:
    """Returns how the data of a run are read: by the parts that were pinned when it began, if it has begun.

    Args:
        run: The run.
        advance: Progress callback, called with the number of files checked so far and the number of all files.
        check: Value that replaces the setting `check` of the data; None keeps the setting.

    Raises:
        JobError: The record of the parts cannot be read.
    """
    return Reading(pinned_parts(run), advance=advance, check=check)


def pin_data(resolved: ResolvedJob, run: Run) -> None:
    """Writes the record of a run's data if it begins, so that it is never tested on images that it was trained on.

    Args:
        resolved: The job of the run, with its data.
        run: The run.

    Raises:
        JobError: The run has begun with other data, or its record cannot be read.
        OSError: The record cannot be written (StorageError for a full, read-only or forbidden disk).
    """
    found, shape = resolved.scan, resolved.preprocess
    if found is not None and shape is not None:
        pinned = pinned_parts(run)
        if pinned is None:
            replace(found.pinned(), size=shape.input_size, fit=shape.fit).write(run.path / PINNED)
        else:
            _check_parts(found, pinned)
    elif isinstance(resolved, ResolvedSearch):
        _check_or_write(resolved.task.record(), resolved.data.name, run.path / ITEMS)


def pinned_parts(run: Run) -> PinnedParts | None:
    """Returns the parts with which a run began; None if it has not begun, or has no image files.

    Raises:
        JobError: The record of the parts cannot be read.
    """
    try:
        return read_pinned(run.path / PINNED)
    except DatasetError as error:
        raise JobError(f"data: {error}") from error


def _check_parts(found: Scan, pinned: PinnedParts) -> None:
    """Raises `JobError` unless each image is in the part that it is pinned to. Only functions of the user's own divide anew."""
    known = {(entry.file, entry.part) for entry in pinned.files}
    moved = [shown(image.file) for image in found.images if (image.file, image.part) not in known]
    if moved or found.classes != pinned.classes:
        what = f"these images are new or in another part: {named(moved)}" if moved else "the classes are others"
        raise JobError(
            f"data: the function of the data set does not divide the images as when this run began; {what}. The run could be "
            f"tested on images that it was trained on: {ADVICE}"
        )


def _check_or_write(now: dict[str, Any], name: str, path: Path) -> None:
    """Writes the record of a data set `name` to `path`. Raises `JobError` if another one is there, or it cannot be read."""
    if not path.is_file():
        write_atomic(path, json.dumps(now) + "\n")
        return
    try:
        before = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise JobError(f"data: {path}, which says with which data this run began, cannot be read: {error}") from error
    for key, value in now.items():
        if before.get(key) != value:
            raise JobError(f"data: the {key} of {name} are {value}, and this run began with {before.get(key)}: {ADVICE}")
