"""`CellFile`, the file to which each finished search of a comparison is written, so that a killed comparison goes on."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from hubserve.comparison.search_cell import SearchCell
from hubserve.errors import ExperimentError
from hubserve.storage_faults import writing

CELLS = "cells.jsonl"
"""Name of the file in the folder of a comparison: a JSON object a line."""


class CellFile(contextlib.AbstractContextManager["CellFile"]):
    """The finished searches in a folder, each under a key; a search is written as soon as it is added.

    It may hold searches of other strategies, tables and seeds than the ones that are compared now. A line that was not written
    to its end, because the process was killed, is removed.

    >>> with CellFile(folder) as cells:
    ...     cells.add(key, cell, table="NasBench201", strategy="Random")

    Args:
        folder: The folder, which is made if it does not exist.

    Attributes:
        cells: The searches by key: those read from the file when the context is entered, and those added since.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / CELLS
        self._lock = FileLock(folder / "comparison.lock")
        self.cells: dict[str, SearchCell] = {}

    def __enter__(self) -> "CellFile":
        """Locks the folder and reads the file.

        Raises:
            ExperimentError: Another process compares in this folder, or the file is not one of searches.
            StorageError: The folder cannot be made, read or written.
        """
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout as error:
                raise ExperimentError(
                    f"another process compares in {self._path.parent}; wait for its end, or name another folder"
                ) from error
            try:
                self._read()
            except BaseException:
                self._lock.release()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Unlocks the folder."""
        self._lock.release()

    def add(self, key: str, cell: SearchCell, *, table: str, strategy: str) -> None:
        """Appends a search to the file; `table` and `strategy` are for readers of the file only.

        Raises:
            StorageError: The disk is full, or does not permit it.
        """
        record = {"key": key, "table": table, "strategy": strategy, **asdict(cell)}
        with writing(self._path), self._path.open("ab") as file:
            file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self.cells[key] = cell

    def _read(self) -> None:
        if not self._path.exists():
            return
        content = self._path.read_bytes()
        complete = content[: content.rfind(b"\n") + 1]
        try:
            for line in complete.splitlines():
                record = json.loads(line)
                cell = SearchCell(record["seed"], tuple(record["rows"]), record["seconds"], record["cpu_seconds"])
                self.cells[record["key"]] = cell
        except (ValueError, LookupError, TypeError) as error:
            raise ExperimentError(
                f"{self._path} is no file of finished searches ({type(error).__name__}: {error}); delete it, or name another "
                "folder"
            ) from error
        if len(complete) < len(content):
            with self._path.open("r+b") as file:
                file.truncate(len(complete))
