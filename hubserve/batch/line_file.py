"""Output of an offline run in CSV or JSON Lines: finished parts are appended to the file."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hubserve.batch.rows import ImageRow, RowColumns, csv_lines, csv_names, json_lines, json_names
from hubserve.errors import OutputError
from hubserve.storage_faults import writing


class LineFile:
    """Output in CSV or JSON Lines.

    Rows are appended in parts; the record of the run says how many bytes are complete. What a killed run left behind them,
    perhaps half a line, is cut off when the next run goes on.

    Args:
        path: File to write; with the suffix .csv it is written as CSV, with any other as JSON Lines.
        columns: Names and order of the columns.
        position: Number of bytes that are complete; with 0 the first `append` overwrites what is in the file.

    Raises:
        OutputError: The file has fewer bytes than `position`.
    """

    def __init__(self, path: Path, columns: RowColumns, position: int) -> None:
        self._path = path
        self._columns = columns
        self._is_csv = path.suffix.lower() == ".csv"
        found = path.stat().st_size if path.exists() else 0
        if found < position:
            raise OutputError(
                f"{path} was changed after it was written: it has {found:,} bytes, and its record says {position:,}; give "
                "--restart to begin anew"
            )
        self.position = position

    def names(self) -> Iterator[str]:
        """Cuts off what stands behind the complete rows, and yields the path of each of these."""
        if not self.position:
            return
        self._cut()
        with self._path.open(encoding="utf-8", newline="") as file:
            yield from csv_names(file) if self._is_csv else json_names(file)

    def append(self, rows: Sequence[ImageRow]) -> None:
        """Appends rows; they are complete when this returns. Raises StorageError for a full, read-only or forbidden disk."""
        with writing(self._path):
            if not self._path.exists():
                self._path.touch()
            self._cut()
            content = (
                csv_lines(rows, self._columns, header=not self.position) if self._is_csv else json_lines(rows, self._columns)
            )
            with self._path.open("ab") as file:
                file.write(content)
            self.position += len(content)

    def finish(self) -> None:
        """Does nothing: all that was appended is in the file already."""

    def clean(self) -> None:
        """Does nothing: there are no other files."""

    def _cut(self) -> None:
        """Removes what stands behind the last complete row."""
        if self._path.stat().st_size > self.position:
            os.truncate(self._path, self.position)
