"""`JournalFileStorage`, Optuna's journal storage in a file, which writes the many small records of a running trial together."""

import fcntl
import json
import os
import shlex
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from hubserve.errors import ExperimentError
from hubserve.strategy.optuna_internals import RUNNING_TRIAL_OPERATIONS, TRIAL_STATE_OPERATION


class JournalFileStorage(JournalStorage):
    """Optuna's journal storage in a file, with few writes.

    The parameters and attributes of a running trial are held in memory until the next record of another kind, such as a new
    trial, an intermediate value or the end of a trial. `flush` writes them at once.

    Args:
        path: The file; it is created if it does not exist. Its folder must exist.

    Attributes:
        path: The file, as it was given.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = BatchedJournalBackend(path)
        super().__init__(self._file)

    def flush(self) -> None:
        """Writes the records held in memory to the file, where other processes, and this study after a crash, read them.

        Raises:
            OSError: They cannot be written, e.g. because the disk is full; they stay in memory.
        """
        self._file.flush()


class BatchedJournalBackend(BaseJournalBackend):
    """A backend of Optuna's journal storage that writes the records of a running trial to the file together.

    Readers in this process get records that are held in memory immediately, and do not get them again from the file; a call of
    `read_logs` that returns such records does not read the file. An incomplete last record, which a crash may leave, is removed
    before the next write. The operating system releases the file's lock (`flock`) when the process that holds it ends, so a
    killed writer blocks no other. For a complete line that is not a record, `read_logs` raises ExperimentError with the number
    of the line. If `append_logs` raises OSError, its records are not written later either; those held before stay in memory.

    Optuna's own JournalFileBackend has none of these: docs/decisions/0012 says why it is not used.

    Args:
        path: The file; it is created if it does not exist. Its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._waiting: list[bytes] = []  # Records not yet written.
        self._served = 0  # How many of them a reader of this process has had.
        self._offset = 0  # Where the next reading of the file begins.
        self._known: dict[int, int] = {}  # Start -> end of parts of the file that were served from memory.
        path.touch()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        with self._lock:
            self._waiting += lines
            operations = {log["op_code"] for log in logs}
            if operations <= RUNNING_TRIAL_OPERATIONS:
                return
            try:
                self.flush(on_disk=TRIAL_STATE_OPERATION in operations)
            except OSError:
                # The caller gets the error, so these records must not be written later.
                del self._waiting[-len(lines) :]
                raise

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        with self._lock:
            if log_number_from == 0:
                self.flush()
                self._offset, self._known = 0, {}
            fresh = self._waiting[self._served :]
            self._served = len(self._waiting)
            # Records of other processes come with the next reading that finds none of this process in memory.
            return [json.loads(line) for line in fresh] or self._unread_records()

    def flush(self, *, on_disk: bool = False) -> None:
        """Appends the records held in memory to the file in one write; with `on_disk`, also calls fsync."""
        with self._lock:
            if not self._waiting:
                return
            with self._path.open("a+b", buffering=0) as file:
                # Until the file is closed; a tenth of what the library filelock costs, three times a trial.
                fcntl.flock(file, fcntl.LOCK_EX)
                _cut_off_torn_record(file.fileno())
                end = _append(file.fileno(), b"".join(self._waiting))
                if on_disk:
                    os.fsync(file.fileno())
            # The records that were served from memory come first; a later reading of the file skips them.
            if self._served:
                start = end - sum(map(len, self._waiting))
                self._known[start] = start + sum(map(len, self._waiting[: self._served]))
            self._waiting, self._served = [], 0

    def _unread_records(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while True:
                if self._offset in self._known:
                    self._offset = self._known.pop(self._offset)
                    file.seek(self._offset)
                line = file.readline()
                if not line.endswith(b"\n"):
                    return records
                records.append(self._record(line))
                self._offset += len(line)

    def _record(self, line: bytes) -> dict[str, Any]:
        """Returns the record on a line of the file, the one that begins at `_offset`. Raises ExperimentError if it has none."""
        try:
            record = json.loads(line)
            if isinstance(record, dict) and "op_code" in record:
                return record
        except (ValueError, RecursionError):
            pass
        with self._path.open("rb") as file:
            number = file.read(self._offset).count(b"\n") + 1
        raise ExperimentError(
            f"{self._path}, line {number} is corrupt, no record of Optuna's journal: {line[:60]!r}. Restore the file from a "
            f"copy; or keep the trials before that line: head -n {number - 1} {shlex.quote(str(self._path))} > NEW_FILE"
        )

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        return {"path": self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


def _cut_off_torn_record(descriptor: int) -> None:
    """Truncates the file after its last complete line."""
    size = end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 4096)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        end = start if newline < 0 else start + newline + 1
        if newline >= 0:
            break
    if end < size:
        os.ftruncate(descriptor, end)


def _append(descriptor: int, data: bytes) -> int:
    """Appends `data` to the file, completely or, if an error is raised, not at all; returns the new length of the file.

    Raises:
        OSError: The data cannot be written, e.g. because the disk is full.
    """
    before = os.fstat(descriptor).st_size
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        # The disk is full: the records stay in memory, and must not be in the file twice when they are written later.
        os.ftruncate(descriptor, before)
        raise
    return os.lseek(descriptor, 0, os.SEEK_CUR)
