"""Caches the results of image checks in an SQLite file, so that an unchanged image file is decoded only once."""

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from os import fsencode, stat_result
from pathlib import Path
from typing import NamedTuple

from PIL import __version__ as pillow_version

from hubserve.data.image_check import Check
from hubserve.errors import HubserveError
from hubserve.home import home

FILE = "image_checks.sqlite"

READER = f"2 pillow {pillow_version}"
"""Version of the check, and of Pillow, which decodes the images; results that other versions have cached are not used."""

KEPT_SECONDS = 180 * 86400
"""Age at which a result is deleted: 180 days."""

RECENT_SECONDS = 2.0
"""Age in seconds below which the result of a file is not cached.

A file that was changed so recently could change again and keep the same modification time."""

_TABLE = """CREATE TABLE IF NOT EXISTS file_checks
(path BLOB PRIMARY KEY, bytes INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, full INTEGER, reader TEXT, stored REAL, result TEXT)
WITHOUT ROWID"""
"""Command that creates the table. Until version 0.2 there was a table `checks`, which did not have `ctime_ns`."""


class Stamp(NamedTuple):
    """The size of a file and when it was changed; a cached result is used only while all of it is unchanged.

    Attributes:
        bytes: Size of the file in bytes.
        mtime_ns: Time of the last modification, in nanoseconds since 1970. Programs that copy or unpack files may set it, so
            that all files of a data set may have the same.
        ctime_ns: Time at which the file's data, name or other properties last changed, in nanoseconds since 1970; programs
            cannot set it. If one file takes the name of another of the same size, this alone may show it.
    """

    bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: stat_result) -> "Stamp":
        """Returns the stamp of the file whose status, as `Path.stat` returns it, is given."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def read_checks(stamps: Mapping[Path, Stamp], *, full: bool) -> dict[Path, Check]:
    """Returns the cached check results of those files that have not changed since they were checked.

    Args:
        stamps: The present stamp of each file, by its absolute path.
        full: If True, only results of full checks are returned; if False, results of header checks as well.

    Returns:
        Result by path. Files without a valid cached result are missing. If the cache cannot be read, all may be missing; no
        error is raised.
    """
    found: dict[Path, Check] = {}
    with suppress(sqlite3.Error, OSError, HubserveError, ValueError, TypeError), _opened() as cache:
        query = "SELECT bytes, mtime_ns, ctime_ns, full, result FROM file_checks WHERE path = ? AND reader = ?"
        for path, stamp in stamps.items():
            row = cache.execute(query, (fsencode(path), READER)).fetchone()
            if row is not None and row[:3] == stamp and row[3] >= full:
                sha256, width, height, kinds, problem, lasting = json.loads(row[4])
                found[path] = Check(sha256, width, height, tuple(kinds), problem, lasting)
    return found


def keep_checks(results: Iterable[tuple[Path, Stamp, Check]], *, full: bool) -> None:
    """Writes check results to the cache, and deletes results that are older than `KEPT_SECONDS`.

    Results with `Check.lasting` False and those of files changed within `RECENT_SECONDS` are skipped. Does nothing, without
    an error, if the cache cannot be written.

    Args:
        results: For each file its absolute path, its stamp from before the check, and its result.
        full: Whether these are results of full checks (True) or of header checks (False).
    """
    now = time.time()
    rows = [
        (fsencode(path), *stamp, full, READER, now, json.dumps(check))
        for path, stamp, check in results
        if check.lasting and stamp.mtime_ns < (now - RECENT_SECONDS) * 1e9
    ]
    if not rows:
        return
    with suppress(sqlite3.Error, OSError, HubserveError), _opened() as cache, cache:
        cache.executemany("INSERT OR REPLACE INTO file_checks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        cache.execute("DELETE FROM file_checks WHERE stored < ?", (now - KEPT_SECONDS,))


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / FILE, timeout=20)) as cache:
        cache.execute(_TABLE)
        yield cache
