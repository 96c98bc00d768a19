"""Output of an offline run in Parquet: finished parts are files in a folder, which become one file at the end."""

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hubserve.atomic import staged_file
from hubserve.batch.rows import ERROR, FEATURES, PATH, ImageRow, RowColumns, as_columns
from hubserve.errors import MissingExtraError, OutputError
from hubserve.storage_faults import writing

PARTS = ".parts"
"""What the name of the folder has after that of the output."""

GROUP_ROWS = 8_192
"""Number of rows from which parts are written as one row group of the final file."""


class ParquetFile:
    """Output in Parquet.

    Each part is written into OUT.parts under a hidden name and then renamed. `finish` writes all parts into one file, in one
    step, so there is no incomplete output; `clean` removes the parts.

    Args:
        path: File to write.
        columns: Names and order of the columns.
        position: Number of parts that are complete; 0 begins anew. Has no effect with `finished`.
        finished: Whether `path` is a finished file, to which further parts may be added.

    Raises:
        MissingExtraError: pyarrow is not installed.
        OutputError: A complete part, or the finished file, is missing.
    """

    def __init__(self, path: Path, columns: RowColumns, position: int, *, finished: bool) -> None:
        try:
            # Imported here, because pyarrow is an optional dependency.
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtraError("writing Parquet needs pyarrow: pip install 'hubserve[parquet]'") from error
        self._arrow: Any = pyarrow
        self._parquet: Any = parquet
        self._path, self._columns = path, columns
        self._folder = path.with_name(f"{path.name}{PARTS}")
        self._finished = finished
        self.position = 0 if finished else position
        if finished and not path.is_file():
            raise OutputError(f"{path} is missing, and its record says that it is complete; give --restart to begin anew")
        for part in self._complete():
            if not part.is_file():
                raise OutputError(f"{part} is missing: it was removed after it was written; give --restart to begin anew")

    def names(self) -> Iterator[str]:
        """Yields the path of each complete row."""
        for part in [self._path] if self._finished else self._complete():
            with self._parquet.ParquetFile(part) as file:
                for batch in file.iter_batches(columns=[PATH]):
                    yield from batch.column(PATH).to_pylist()

    def append(self, rows: Sequence[ImageRow]) -> None:
        """Writes rows as a part; they are complete when this returns. Raises StorageError for a full or forbidden disk."""
        with writing(self._path):
            self._folder.mkdir(exist_ok=True)
            if self._finished:  # A finished file becomes the first part; it stays in place until the new one replaces it.
                first = self._part(1)
                first.unlink(missing_ok=True)
                try:
                    os.link(self._path, first)
                except OSError:
                    shutil.copyfile(self._path, first)
                self._finished, self.position = False, 1
            table = self._arrow.table(as_columns(rows, self._columns), schema=self._schema())
            with staged_file(self._part(self.position + 1)) as unfinished:
                self._parquet.write_table(table, unfinished)
        self.position += 1

    def finish(self) -> None:
        """Writes all parts into the output, in one step; does nothing if it is finished and has no further part."""
        if self._finished:
            return
        with staged_file(self._path) as unfinished, self._parquet.ParquetWriter(unfinished, self._schema()) as writer:
            waiting: list[Any] = []
            for part in self._complete():
                with self._parquet.ParquetFile(part) as file:
                    for batch in file.iter_batches(batch_size=GROUP_ROWS):
                        waiting.append(batch)
                        if sum(map(len, waiting)) >= GROUP_ROWS:
                            writer.write_table(self._arrow.Table.from_batches(waiting))
                            waiting = []
            if waiting:
                writer.write_table(self._arrow.Table.from_batches(waiting))

    def clean(self) -> None:
        """Removes the parts."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _complete(self) -> list[Path]:
        return [self._part(number) for number in range(1, self.position + 1)]

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:08}.parquet"

    def _schema(self) -> Any:
        kinds = {"label": self._arrow.string(), "probability": self._arrow.float64(), "index": self._arrow.int32()}
        kinds |= {name: self._arrow.string() for name in (PATH, ERROR)}
        kinds[FEATURES] = self._arrow.list_(self._arrow.float32())
        return self._arrow.schema([(name, kinds[name.partition("_")[0]]) for name in self._columns.names])
