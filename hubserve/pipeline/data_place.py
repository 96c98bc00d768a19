"""Finds where the data of a job are, and checks that the job may reach them."""

from dataclasses import replace
from pathlib import Path

from hubserve.data.hub_dataset import PREFIX
from hubserve.data.own_images import Reading
from hubserve.jobs import LISTING_BYTES, JobLimits
from hubserve.jobs.definition import DataEntry


def data_place(entry: DataEntry, where: Path, limits: JobLimits) -> Path | str | None:
    """Returns the folder or the listing of a job's data, or their address on the Hugging Face hub; None if the job names none.

    Args:
        entry: What the job says about its data.
        where: Folder in which relative paths of the definition start.
        limits: What the job may reach.

    Raises:
        JobError: `limits` has roots, and the place is in none of them, does not exist, is of the wrong kind, or is too large;
            or something in the folder is not allowed, see `JobLimits.reachable_folder`. Without roots nothing is checked.
    """
    if entry.folder is not None:
        return limits.reachable_folder("data.folder", where / entry.folder.expanduser())
    if entry.file is not None:
        return limits.reachable_file("data.file", where / entry.file.expanduser(), max_bytes=LISTING_BYTES)
    return None if entry.dataset is None else PREFIX + entry.dataset.removeprefix(PREFIX)


def within(reading: Reading, limits: JobLimits) -> Reading:
    """Returns a copy of `reading` that restricts listings to files below the roots of `limits`."""
    return replace(reading, roots=limits.roots)
