"""Results of image checks, kept by path, size and time of the file, so that a file is decoded once and not for every run."""

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

READER = f"1 pillow {pillow_version}"
"""Version of the check and of what decodes; results of other ones are not used."""

KEPT_SECONDS = 180 * 86400
"""Age at which a result is deleted: 180 days."""

RECENT_SECONDS = 2.0
"""A file that was changed this short a time ago is not kept: it could be changed again without another time of change."""

_TABLE = """CREATE TABLE IF NOT EXISTS checks
(path BLOB PRIMARY KEY, bytes INTEGER, mtime_ns INTEGER, full INTEGER, reader TEXT, stored REAL, result TEXT) WITHOUT ROWID"""


class Stamp(NamedTuple):
    """Size and time of a file, by which a change is noticed.

    Attributes:
        bytes: Length of the file.
        mtime_ns: Time of its last change, in nanoseconds since 1970.
    """

    bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, status: stat_result) -> "Stamp":
        """The stamp in the status of a file."""
        return cls(status.st_size, status.st_mtime_ns)


def read_checks(stamps: Mapping[Path, Stamp], *, full: bool) -> dict[Path, Check]:
    """The kept results of those files that have not changed since.

    A cache that cannot be read counts as empty.

    Args:
        stamps: Absolute path of each file -> its stamp now.
        full: Whether only results of full checks are returned; else those of headers, too.
    """
    found: dict[Path, Check] = {}
    with suppress(sqlite3.Error, OSError, HubserveError, ValueError, TypeError), _opened() as cache:
        query = "SELECT bytes, mtime_ns, full, result FROM checks WHERE path = ? AND reader = ?"
        for path, stamp in stamps.items():
            row = cache.execute(query, (fsencode(path), READER)).fetchone()
            if row is not None and (row[0], row[1]) == stamp and row[2] >= full:
                sha256, width, height, kinds, problem, lasting = json.loads(row[3])
                found[path] = Check(sha256, width, height, tuple(kinds), problem, lasting)
    return found


def keep_checks(results: Iterable[tuple[Path, Stamp, Check]], *, full: bool) -> None:
    """Keeps results for the next time; without an effect where the folder of hubserve cannot be written.

    Args:
        results: Absolute path, stamp from before the check, and result of each file.
        full: Whether these are results of full checks.
    """
    now = time.time()
    rows = [
        (fsencode(path), stamp.bytes, stamp.mtime_ns, full, READER, now, json.dumps(check))
        for path, stamp, check in results
        if check.lasting and stamp.mtime_ns < (now - RECENT_SECONDS) * 1e9
    ]
    if not rows:
        return
    with suppress(sqlite3.Error, OSError, HubserveError), _opened() as cache, cache:
        cache.executemany("INSERT OR REPLACE INTO checks VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        cache.execute("DELETE FROM checks WHERE stored < ?", (now - KEPT_SECONDS,))


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(folder / FILE, timeout=20)) as cache:
        cache.execute(_TABLE)
        yield cache
