"""An offline run: classifies the images of a source that have no row yet, and appends their rows to an output."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from hubserve.batch.answered import AnsweredImages
from hubserve.batch.image_source import ImageSource, LeftOutCounts
from hubserve.batch.line_file import LineFile
from hubserve.batch.parquet_file import PARTS, ParquetFile
from hubserve.batch.predict_files import classified_rows, worker_count
from hubserve.batch.rows import ImageRow, RowColumns
from hubserve.batch.run_record import (
    MOST_NAMED,
    RunRecord,
    only_writer,
    read_record,
    record_path,
    write_record,
)
from hubserve.errors import DatasetError, OutputError
from hubserve.package.manifest import Manifest
from hubserve.package.package import LABELS, WEIGHTS
from hubserve.service.engine import Engine

ENDINGS = (".parquet", ".csv", ".jsonl")
"""Suffixes of the names of outputs, in lower case."""

PART_ROWS = 1_000
"""Number of rows from which rows are written together; a killed run loses those that were not written yet."""

PART_SECONDS = 10.0
"""Seconds since the last write after which fewer rows are written."""

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Function from a text and a total to a context manager that yields a function which counts what is done."""


class RowFile(Protocol):
    """An output to which rows are appended in parts.

    Attributes:
        position: How much of it is complete: a number of bytes, or of parts in Parquet.
    """

    position: int

    def names(self) -> Iterator[str]:
        """Yields the path of each complete row."""
        ...

    def append(self, rows: list[ImageRow]) -> None:
        """Appends rows; they are complete when this returns."""
        ...

    def finish(self) -> None:
        """Makes the output complete; called once, after the last `append`."""
        ...

    def clean(self) -> None:
        """Removes files that a complete output does not need any more."""
        ...


class BatchSummary(BaseModel):
    """Result of `predict_to_file`.

    Attributes:
        out: The output.
        model: Name of the model.
        images: Number of rows of the output, those of earlier runs included.
        unreadable: Number of them that have an error.
        first_unreadable: Paths of the first of these images, at most `MOST_NAMED`.
        continued: Number of rows that an earlier run had written.
        left_out: Reason, such as "hidden" or "ending .txt" -> number of files and folders that are not classified.
        seconds: Duration of this run in seconds.
    """

    model_config = ConfigDict(frozen=True)

    out: str
    model: str
    images: int
    unreadable: int
    first_unreadable: tuple[str, ...]
    continued: int
    left_out: dict[str, int]
    seconds: float


def check_output(out: Path, *, features: bool) -> None:
    """Checks the name of an output.

    Raises:
        OutputError: Its suffix is none of `ENDINGS`, or it is .csv and there are features.
    """
    if out.suffix.lower() not in ENDINGS:
        raise OutputError(f"{out}: the name of the output says its format, and ends with one of {', '.join(ENDINGS)}")
    if features and out.suffix.lower() == ".csv":
        raise OutputError(f"{out}: features are a list of numbers, which CSV has no column for; write .parquet or .jsonl")


def predict_to_file(
    engine: Engine,
    source: ImageSource,
    out: Path,
    columns: RowColumns,
    *,
    workers: int | None = None,
    restart: bool = False,
    progress: Progress,
) -> BatchSummary:
    """Classifies the images of a source and writes a row for each into a file; goes on with one that an earlier run began.

    An image that has a row already is not classified again, also in a complete output, to which the rows of new images are
    added. An image that cannot be read gets a row with the error.

    Args:
        engine: Engine of the model.
        source: The images.
        out: File to write; its suffix says the format.
        columns: How many classes a row has, and whether it has features.
        workers: Number of threads; None takes one for each core. There are fewer if memory is short, see `worker_count`.
        restart: Whether to replace `out`, whatever wrote it.
        progress: Shows how many of the images have a row.

    Raises:
        OutputError: The suffix of `out` is none of `ENDINGS`, or .csv with features; the output exists and cannot be continued
            (see `read_record`), or a part of it is missing; or another process writes it.
        DatasetError: There is no image, the listing cannot be read, or no row of the output has a result; the rows with the
            errors are written then.
        TopKError: `columns.top_k` is not between 1 and the number of classes.
        NoFeaturesError: `columns` has features, and the model has none.
        MissingExtraError: The output or the listing is a Parquet file, and pyarrow is not installed.
        ExportError: The network cannot be run.
        OSError: The folder of images cannot be read, or the output cannot be written (StorageError for a full, read-only or
            forbidden disk).
    """
    start = time.monotonic()
    check_output(out, features=columns.features)
    left_out = LeftOutCounts()
    total = sum(1 for _ in source.images(left_out))
    if not total:
        raise DatasetError(f"{source.description} has no image; left out: {left_out.text() or 'nothing'}")
    with only_writer(out):
        if restart:
            _remove(out)
        settings = _settings(engine.manifest, source, columns)
        record = read_record(out, settings)
        if record is None or ((record.finished or not _is_parquet(out)) and not out.exists()):
            record = RunRecord(settings=settings)
            write_record(out, record)
        file = _opened(out, columns, record)
        answered = AnsweredImages(file.names())
        remaining = (image for image in source.images(LeftOutCounts()) if not answered.take(image.name))
        writer = _Writer(out, file, record)
        with progress(engine.manifest.name, total) as advance:
            advance(min(len(answered), total))
            for rows in classified_rows(engine, remaining, columns, workers=worker_count(workers)):
                writer.add(rows)
                advance(len(rows))
        writer.finish()
    record = writer.record
    if record.unreadable == record.rows:
        raise DatasetError(f"none of the {record.rows:,} images is readable; {out} has the reason for each")
    return BatchSummary(
        out=str(out),
        model=engine.manifest.name,
        images=record.rows,
        unreadable=record.unreadable,
        first_unreadable=record.first_unreadable,
        continued=len(answered),
        left_out=dict(sorted(left_out.counts.items())),
        seconds=time.monotonic() - start,
    )


class _Writer:
    """Writes rows in parts, and the record after each.

    Attributes:
        record: The record as of the last part.
    """

    def __init__(self, out: Path, file: RowFile, record: RunRecord) -> None:
        self._out, self._file = out, file
        self._rows: list[ImageRow] = []
        self._since = time.monotonic()
        self.record = record

    def add(self, rows: list[ImageRow]) -> None:
        self._rows += rows
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._since >= PART_SECONDS:
            self._write()

    def finish(self) -> None:
        if self._rows:
            self._write()
        if not self.record.finished:
            self._file.finish()
            self.record = self.record.model_copy(update={"finished": True})
            write_record(self._out, self.record)
        self._file.clean()

    def _write(self) -> None:
        self._file.append(self._rows)
        wrong = [row.name for row in self._rows if row.error is not None]
        self.record = self.record.model_copy(
            update={
                "position": self._file.position,
                "rows": self.record.rows + len(self._rows),
                "unreadable": self.record.unreadable + len(wrong),
                "first_unreadable": (*self.record.first_unreadable, *wrong)[:MOST_NAMED],
                "finished": False,
            }
        )
        write_record(self._out, self.record)
        self._rows, self._since = [], time.monotonic()


def _opened(out: Path, columns: RowColumns, record: RunRecord) -> RowFile:
    if _is_parquet(out):
        return ParquetFile(out, columns, record.position, finished=record.finished)
    return LineFile(out, columns, record.position)


def _is_parquet(out: Path) -> bool:
    return out.suffix.lower() == ".parquet"


def _remove(out: Path) -> None:
    """Removes an output, whatever wrote it, with its record and its parts; leaves a folder, a device or a pipe of this name."""
    if out.is_file() or out.is_symlink():
        out.unlink()
    record_path(out).unlink(missing_ok=True)
    shutil.rmtree(out.with_name(f"{out.name}{PARTS}"), ignore_errors=True)


def _settings(manifest: Manifest, source: ImageSource, columns: RowColumns) -> dict[str, Any]:
    """Returns what the rows depend on: the model, the images and the columns."""
    parts = {
        "weights": manifest.files[WEIGHTS].sha256,
        "labels": manifest.files[LABELS].sha256,
        "preprocess": manifest.image_preprocess.model_dump(mode="json"),
        "temperature": manifest.temperature,
    }
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return {
        "model": f"{manifest.name} {digest[:16]}",
        "images": source.description,
        "top_k": columns.top_k,
        "features": columns.features,
    }
