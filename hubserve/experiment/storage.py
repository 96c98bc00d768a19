"""Where a study is kept: a journal file that writes a trial's many small records together, or any storage of Optuna."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import BaseJournalBackend

from hubserve.errors import ExperimentError

if sys.platform != "win32":
    import fcntl

# Values of optuna's JournalOperation, which are the "op_code" of its file format. These concern one running trial and no other,
# so it does not matter when other processes see them: set parameter, set user attribute, set system attribute.
_MAY_WAIT = frozenset((5, 8, 9))
# A trial's new state: what a crash of the machine, not only of the process, must leave.
_ON_DISK = 6


def open_storage(place: str | Path) -> BaseStorage:
    """The storage at `place`: a journal file, made with its folders where it is new, or a URL such as `sqlite:///study.db`.

    A file is in the format of Optuna's journal, which optuna-dashboard opens; `kill -9` at any moment loses no finished trial.
    docs/decisions/0012 has the figures that made it the default.

    Raises:
        ExperimentError: `place` is a folder, or a file that is no journal, or a URL that no storage of Optuna answers to.
    """
    if "://" in str(place):
        return _by_url(str(place))
    path = Path(place).expanduser()
    if path.is_dir():
        raise ExperimentError(f"{path} is a folder; name a file for the study in it, such as {path / 'study.journal'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _hold_to_format(path)
    return FileStorage(path)


class FileStorage(JournalStorage):
    """Optuna's journal storage on a file, with as few writes as keep what was promised.

    What a running trial suggests and notes waits in memory until the next record that others must see: a new trial, an
    intermediate value, the end of the trial. `flush` writes it at once, for an evaluation that takes long.
    """

    def __init__(self, path: Path) -> None:
        self._file = BatchedJournal(path)
        super().__init__(self._file)

    def flush(self) -> None:
        """Writes what waits, so that other processes, and this study after a crash, see what a running trial tries."""
        self._file.flush()


class BatchedJournal(BaseJournalBackend):
    """Optuna's journal file format, with records of a running trial written together.

    The process that made waiting records is served them from memory at once and does not read them again from the file. A file
    whose last record a crash cut off is cut back to the record before. Writers lock the file in a way that ends with the
    process, so that a killed one holds nobody up.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._waiting: list[bytes] = []
        self._served = 0
        self._offset = 0
        self._known: dict[int, int] = {}
        path.touch()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        with self._lock:
            self._waiting += lines
            operations = {log["op_code"] for log in logs}
            if operations <= _MAY_WAIT:
                return
            try:
                self.flush(on_disk=_ON_DISK in operations)
            except OSError:
                # The caller hears of it, so these records must not come true later.
                del self._waiting[-len(lines) :]
                raise

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        with self._lock:
            if log_number_from == 0:
                self.flush()
                self._offset, self._known = 0, {}
            fresh = self._waiting[self._served :]
            self._served = len(self._waiting)
            # Others' records can be had at the next reading that is not about this process's own.
            lines = fresh or self._unread_lines()
        return [json.loads(line) for line in lines]

    def flush(self, *, on_disk: bool = False) -> None:
        """Appends the waiting records in one write; `on_disk` waits until the disk has them."""
        with self._lock:
            if not self._waiting:
                return
            with self._path.open("a+b", buffering=0) as file, _only_writer(file, self._path):
                _cut_off_torn_record(file.fileno())
                end = _append(file.fileno(), b"".join(self._waiting))
                if on_disk:
                    os.fsync(file.fileno())
            # What this process was served from memory comes first, and is passed over when the file is read.
            if self._served:
                start = end - sum(map(len, self._waiting))
                self._known[start] = start + sum(map(len, self._waiting[: self._served]))
            self._waiting, self._served = [], 0

    def _unread_lines(self) -> list[bytes]:
        lines: list[bytes] = []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            while True:
                if self._offset in self._known:
                    self._offset = self._known.pop(self._offset)
                    file.seek(self._offset)
                line = file.readline()
                if not line.endswith(b"\n"):
                    return lines
                lines.append(line)
                self._offset += len(line)

    def __getstate__(self) -> dict[str, Any]:
        self.flush()
        return {"path": self._path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]


@contextlib.contextmanager
def _only_writer(file: io.FileIO, path: Path) -> Iterator[None]:
    """Keeps other processes from writing until the file is closed."""
    if sys.platform == "win32":
        with FileLock(f"{path}.writers"):
            yield
    else:
        # A tenth of what FileLock costs, three times a trial.
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


def _cut_off_torn_record(descriptor: int) -> None:
    """Ends the file after its last whole record."""
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
    """Writes all or nothing at the end of the file; returns where it ends now."""
    before = os.fstat(descriptor).st_size
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        # A full disk: the records still wait, and must not be there twice when they are written in the end.
        os.ftruncate(descriptor, before)
        raise
    return os.lseek(descriptor, 0, os.SEEK_CUR)


def _by_url(url: str) -> BaseStorage:
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:
        raise ExperimentError(
            f"no storage at {url!r}: {type(error).__name__}: {error}. Give a file's path, or a URL that Optuna knows, such as "
            "sqlite:///study.db"
        ) from error


def _hold_to_format(path: Path) -> None:
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    try:
        known = "op_code" in json.loads(first)
    except (ValueError, TypeError):
        # A first record that a crash cut off will be cut off here too.
        known = not first.endswith(b"\n") and first.startswith(b'{"op_code"')
    if not known:
        raise ExperimentError(
            f"{path} is no journal of Optuna: its first line is {first[:60]!r}. Name another file; for SQLite write "
            f"sqlite:///{path}"
        )
