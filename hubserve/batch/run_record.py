"""The record of an offline run: a file beside the output that says what wrote it, and how far it is."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from hubserve.atomic import write_atomic
from hubserve.bounded_files import read_bounded_text
from hubserve.errors import OutputError

SUFFIX = ".run.json"
"""What the name of the record has after that of the output."""

MOST_NAMED = 20
"""Largest number of images without a result that the record names; the output names all."""


class RunRecord(BaseModel):
    """The record of a run.

    Attributes:
        format_version: Version of this record.
        settings: What the rows depend on, by name; a run goes on only with equal ones.
        position: How much is complete: a number of bytes of the output; for Parquet, a number of its parts.
        rows: Number of rows that are complete.
        unreadable: Number of them that have an error.
        first_unreadable: Paths of the first of them, at most `MOST_NAMED`.
        finished: Whether the output is complete.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    settings: dict[str, Any]
    position: int = 0
    rows: int = 0
    unreadable: int = 0
    first_unreadable: tuple[str, ...] = ()
    finished: bool = False


def record_path(out: Path) -> Path:
    """Returns the path of the record of an output."""
    return out.with_name(f"{out.name}{SUFFIX}")


def write_record(out: Path, record: RunRecord) -> None:
    """Writes the record of an output in one step. Raises OSError if it cannot be written."""
    write_atomic(record_path(out), record.model_dump_json(indent=2) + "\n")


def read_record(out: Path, settings: Mapping[str, Any]) -> RunRecord | None:
    """Returns the record of an output that may be continued with `settings`; None if there is neither output nor record.

    Raises:
        OutputError: The output exists and has no record, so that it was not written by this command; its record cannot be read;
            or it was written with other settings.
    """
    path = record_path(out)
    if not path.exists():
        if out.exists():
            raise OutputError(
                f"{out} exists, and there is no {path.name} that says what wrote it, so it is not continued; choose another "
                "name, or give --restart to replace it"
            )
        return None
    try:
        record = RunRecord.model_validate_json(read_bounded_text(path))
    except (OSError, ValueError, ValidationError) as error:
        raise OutputError(f"{path} cannot be read as the record of a run; give --restart to begin anew") from error
    changed = [name for name in {**record.settings, **settings} if record.settings.get(name) != settings.get(name)]
    if changed:
        differences = "; ".join(f"{name} was {record.settings.get(name)!r} and is {settings.get(name)!r}" for name in changed)
        raise OutputError(
            f"{out} was written with other settings, so it is not continued: {differences}; give the same ones to go on, "
            "another name, or --restart to begin anew"
        )
    return record


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Context manager in which no other process writes `out`. Raises OutputError if another one does so already."""
    path = out.with_name(f".{out.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(f"another process writes {out} at the moment") from None
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)
        lock.release()
