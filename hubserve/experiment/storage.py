"""`open_storage`, which opens the storage of a study: a journal file, or any Optuna storage by its URL."""

import json
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from hubserve.errors import ExperimentError
from hubserve.experiment.journal_file import JournalFileStorage
from hubserve.strategy.optuna_internals import sqlite_file


def open_storage(place: str | Path) -> BaseStorage:
    """Returns the storage at `place`, a path of a journal file or a URL such as `sqlite:///study.db`.

    A file that does not exist is created, with its folders. It has the format of Optuna's journal, which optuna-dashboard
    opens; `kill -9` at any moment loses no finished trial. docs/decisions/0012 has the measurements that made it the default.

    Raises:
        ExperimentError: `place` is a folder, a file that is not a journal, or a URL with which Optuna opens no storage.
        OSError: A folder or the file cannot be created or read.
    """
    if "://" in str(place):
        return _by_url(str(place))
    path = Path(place).expanduser()
    if path.is_dir():
        raise ExperimentError(f"{path} is a folder; name a file for the study in it, such as {path / 'study.journal'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _hold_to_format(path)
    return JournalFileStorage(path)


def file_of(storage: BaseStorage) -> Path | None:
    """Returns the absolute path of the file of a `JournalFileStorage` or of SQLite; None for any other storage."""
    if isinstance(storage, JournalFileStorage):
        return storage.path.absolute()
    database = sqlite_file(storage)
    return None if database is None else Path(database).absolute()


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
