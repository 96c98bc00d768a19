"""Downloads over HTTP: streamed, resumed, checked by hash, and moved into place by one rename."""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from hubserve.errors import ChecksumError, WeightsUnavailableError
from hubserve.storage_faults import storage_error

TRIES = 3

MOST_BYTES = 16 * 2**30
"""Longest file that is downloaded, in bytes, where the server does not announce a length."""


class _InterruptedError(Exception):
    """The connection broke or the server failed; another try may succeed."""


@dataclass(frozen=True)
class Download:
    """One file to download.

    Attributes:
        url: http(s) address of the file.
        path: Path of the finished file; `path`.part holds the bytes received so far.
        sha256: SHA-256 of the file in hexadecimal, or its first digits.
        progress: Whether to show a progress bar, where stderr is a terminal.
        timeout_seconds: Time without a byte after which a try fails.
        pause_seconds: Time before the second try; it is doubled before the third.
    """

    url: str
    path: Path
    sha256: str
    progress: bool = True
    timeout_seconds: float = 30.0
    pause_seconds: float = 0.5

    def fetch(self) -> Path:
        """The file, which is downloaded unless it is there.

        Raises:
            WeightsUnavailableError: The download failed, or the file cannot be written; the message has the reason.
            ChecksumError: The file that was received has another hash; it is deleted.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Of two processes that download one file, the second waits and finds it.
            with FileLock(f"{self.path}.lock"):
                if not self.path.exists():
                    self._download()
                    self._check()
                    os.replace(self._part, self.path)
                    self._note.unlink(missing_ok=True)
        except OSError as error:
            fault = storage_error(error, self.path)
            if fault is not None:
                for left in (self._part, self._note):  # What was received would keep the disk full.
                    with suppress(OSError):
                        left.unlink()
                raise fault from error
            raise WeightsUnavailableError(
                f"cannot write {self.path}: {error.strerror or error}; HUBSERVE_HOME names another folder"
            ) from error
        return self.path

    @property
    def _part(self) -> Path:
        return self.path.with_name(self.path.name + ".part")

    @property
    def _note(self) -> Path:
        """Records to which version of the file the part belongs, so that parts of two versions are never joined."""
        return self.path.with_name(self.path.name + ".part.json")

    def _download(self) -> None:
        for attempt in range(1, TRIES + 1):
            try:
                self._try_once()
                return
            except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.TooManyRedirects) as error:
                raise WeightsUnavailableError(_reason(error)) from error
            except (_InterruptedError, httpx2.TransportError) as error:
                if attempt == TRIES:
                    raise WeightsUnavailableError(f"{_reason(error)}, {TRIES} times") from error
                time.sleep(self.pause_seconds * 2 ** (attempt - 1))

    def _try_once(self) -> None:
        have, validator = self._resumable()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        with httpx2.stream("GET", self.url, headers=headers, timeout=self.timeout_seconds, follow_redirects=True) as answer:
            resumed = answer.status_code == 206
            self._refuse_other_than_a_file(answer)
            if not resumed:
                # Before the note is written: a process killed in between must not leave another version's part beside it.
                self._part.unlink(missing_ok=True)
            self._note.write_text(json.dumps({"url": self.url, "validator": _validator(answer)}))
            self._receive(answer, have if resumed else 0)

    def _resumable(self) -> tuple[int, str]:
        """Number of bytes received so far and the validator of their version; (0, "") where the version is not known."""
        try:
            note = json.loads(self._note.read_text())
            if note["url"] == self.url and note["validator"]:
                return self._part.stat().st_size, note["validator"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, ""

    def _refuse_other_than_a_file(self, answer: httpx2.Response) -> None:
        if answer.status_code == 416:
            self._part.unlink(missing_ok=True)
            raise _InterruptedError("HTTP 416: the part received so far is longer than the file")
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _InterruptedError(f"HTTP {answer.status_code} {answer.reason_phrase}")
        if answer.status_code not in (200, 206):
            raise WeightsUnavailableError(f"HTTP {answer.status_code} {answer.reason_phrase}")
        if "html" in answer.headers.get("content-type", ""):
            raise WeightsUnavailableError(f"HTTP {answer.status_code} with a web page in place of a file")

    def _receive(self, answer: httpx2.Response, start: int) -> None:
        announced = answer.headers.get("content-length")
        total = start + int(announced) if announced is not None else None
        left = shutil.disk_usage(self._part.parent).free
        if total is not None and total - start > left:
            # As the write itself would say, before anything is received.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        with self._part.open("ab" if start else "wb") as file, _bar(self.path.name, start, total, self.progress) as advance:
            file.truncate(start)
            for chunk in answer.iter_bytes():
                if file.tell() + len(chunk) > MOST_BYTES:
                    raise WeightsUnavailableError(f"the server sends more than the {MOST_BYTES / 1e9:.3g} GB that are received")
                file.write(chunk)
                advance(len(chunk))

    def _check(self) -> None:
        try:
            check_sha256(self._part, self.sha256)
        except ChecksumError:
            self._part.unlink()
            self._note.unlink(missing_ok=True)
            raise


def check_sha256(path: Path, expected: str) -> None:
    """Raises ChecksumError unless the file's SHA-256 starts with `expected`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise ChecksumError(f"sha256 is {found}, expected {expected}{'...' if len(expected) < 64 else ''}: another file")


def _validator(answer: httpx2.Response) -> str:
    """A strong ETag, or the date of change; weak ETags may not be used for ranges (RFC 9110, section 13.1.5)."""
    etag = answer.headers.get("etag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("last-modified", "")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL) else str(error)


@contextmanager
def _bar(name: str, start: int, total: int | None, wanted: bool) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not (wanted and console.is_terminal)) as progress:
        task = progress.add_task(name, total=total, completed=start)
        yield lambda count: progress.advance(task, count)
