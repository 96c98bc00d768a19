"""Downloads a file over HTTP: `Download` resumes interrupted downloads and checks the SHA-256; also `check_sha256`."""

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
from hubserve.hub.web_page import WebPageError, is_web_page, receive_page
from hubserve.storage_faults import storage_error

TRIES = 3
"""Largest number of attempts to download a file."""

MOST_BYTES = 16 * 2**30
"""Largest size, in bytes, of a file that is downloaded; a download that exceeds it fails."""


class _InterruptedError(Exception):
    """Raised on an answer (HTTP 416, 429 or 5xx) after which another attempt to download the file may succeed."""


@dataclass(frozen=True)
class Download:
    """A file to download: its URL, its path on this machine and its SHA-256. `fetch` downloads it.

    Attributes:
        url: URL of the file, with the scheme http or https.
        path: Path of the complete file. Until all bytes are received, they are in a file of this name with ".part" appended.
        sha256: Expected SHA-256 of the file in lower-case hexadecimal, or the first digits of it; "" accepts every file.
        progress: Whether to show a progress bar on stderr; none is shown if stderr is not a terminal.
        timeout_seconds: Timeout of the connection and of each read, in seconds; an attempt fails when it expires.
        pause_seconds: Pause before the second attempt, in seconds; the pause before each further attempt is twice as long.
    """

    url: str
    path: Path
    sha256: str
    progress: bool = True
    timeout_seconds: float = 30.0
    pause_seconds: float = 0.5

    def fetch(self) -> Path:
        """Downloads the file if `path` does not exist, and returns `path`.

        The SHA-256 of a file that already exists is not checked again. A file lock makes concurrent calls safe.

        Raises:
            WebPageError: The server sent a web page in place of the file.
            WeightsUnavailableError: The download failed, or the file cannot be written for a reason that is no StorageError.
            ChecksumError: The SHA-256 of the downloaded file is not the expected one; the downloaded file is deleted.
            StorageError: The disk is full, faulty or not writable; the bytes received so far are deleted.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # If two processes download the same file, the second one waits for the first and then finds the file.
            with FileLock(f"{self.path}.lock"):
                if not self.path.exists():
                    self._download()
                    self._check()
                    os.replace(self._part, self.path)
                    self._note.unlink(missing_ok=True)
        except OSError as error:
            fault = storage_error(error, self.path)
            if fault is not None:
                for left in (self._part, self._note):  # Partial downloads would keep the disk full.
                    with suppress(OSError):
                        left.unlink()
                raise fault from error
            raise WeightsUnavailableError(
                f"cannot write {self.path}: {error.strerror or error}; HUBSERVE_HOME names another folder"
            ) from error
        return self.path

    @property
    def _part(self) -> Path:
        """The path of the incomplete file, which holds the bytes received so far."""
        return self.path.with_name(self.path.name + ".part")

    @property
    def _note(self) -> Path:
        """The path of a JSON file with the URL of `_part` and the validator (ETag or date) of its version.

        A download is resumed only if the server still has this version.
        """
        return self.path.with_name(self.path.name + ".part.json")

    def _download(self) -> None:
        """Downloads the file to `_part`, in at most `TRIES` attempts.

        Raises:
            WeightsUnavailableError: The URL is invalid, the server refused the request, or all attempts failed.
        """
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
        """Requests the file once and writes the answer to `_part`; resumes `_part` if the server supports it.

        Raises:
            _InterruptedError: The server failed; another attempt may succeed.
            WebPageError: The server answered with a web page.
            WeightsUnavailableError: The server answered with another error, or sent more than `MOST_BYTES`.
            httpx2.HTTPError: The connection failed, or the server redirected the request too often or to an invalid URL.
            httpx2.InvalidURL: The URL is invalid.
        """
        have, validator = self._resumable()
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        with httpx2.stream("GET", self.url, headers=headers, timeout=self.timeout_seconds, follow_redirects=True) as answer:
            resumed = answer.status_code == 206
            self._refuse_other_than_a_file(answer)
            if not resumed:
                # Delete the old part before the new note is written: a process killed in between must not leave both.
                self._part.unlink(missing_ok=True)
            self._note.write_text(json.dumps({"url": self.url, "validator": _validator(answer)}))
            self._receive(answer, have if resumed else 0)

    def _resumable(self) -> tuple[int, str]:
        """Returns the number of bytes in `_part` and the validator of their version; (0, "") if they cannot be resumed."""
        try:
            note = json.loads(self._note.read_text())
            if note["url"] == self.url and note["validator"]:
                return self._part.stat().st_size, note["validator"]
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return 0, ""

    def _refuse_other_than_a_file(self, answer: httpx2.Response) -> None:
        """Raises an error unless the answer has status 200 or 206 and is not an HTML page.

        Raises:
            _InterruptedError: The status is 416, 429 or 5xx. After a 416, `_part` is deleted.
            WebPageError: The status is any other, and the answer is a web page.
            WeightsUnavailableError: The status is any other than 200 and 206.
        """
        if answer.status_code == 416:
            self._part.unlink(missing_ok=True)
            raise _InterruptedError("HTTP 416: the part received so far is longer than the file")
        if answer.status_code >= 500 or answer.status_code == 429:
            raise _InterruptedError(f"HTTP {answer.status_code} {answer.reason_phrase}")
        refused = None if answer.status_code in (200, 206) else f"HTTP {answer.status_code} {answer.reason_phrase}"
        if is_web_page(answer):
            page = receive_page(answer)
            message = refused or f"HTTP {answer.status_code} with a web page in place of a file"
            raise WebPageError(f"{message}: {page.summary}", page)
        if refused is not None:
            raise WeightsUnavailableError(refused)

    def _receive(self, answer: httpx2.Response, start: int) -> None:
        """Writes the body of the answer to `_part`, from byte `start` on, and updates the progress bar.

        Raises:
            WeightsUnavailableError: The file is larger than `MOST_BYTES`.
            OSError: The file cannot be written, or (ENOSPC) the announced length exceeds the free space on the disk.
        """
        announced = answer.headers.get("content-length")
        total = start + int(announced) if announced is not None else None
        left = shutil.disk_usage(self._part.parent).free
        if total is not None and total - start > left:
            # The same error as that of a write to a full disk, but before anything is received.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        with self._part.open("ab" if start else "wb") as file, _bar(self.path.name, start, total, self.progress) as advance:
            file.truncate(start)
            for chunk in answer.iter_bytes():
                if file.tell() + len(chunk) > MOST_BYTES:
                    raise WeightsUnavailableError(f"the server sends more than the {MOST_BYTES / 1e9:.3g} GB that are received")
                file.write(chunk)
                advance(len(chunk))

    def _check(self) -> None:
        """Checks the SHA-256 of `_part`. If it is not the expected one, deletes `_part` and raises ChecksumError."""
        try:
            check_sha256(self._part, self.sha256)
        except ChecksumError:
            self._part.unlink()
            self._note.unlink(missing_ok=True)
            raise


def check_sha256(path: Path, expected: str) -> None:
    """Raises ChecksumError unless the SHA-256 of the file, in lower-case hexadecimal, starts with `expected`."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise ChecksumError(f"sha256 is {found}, expected {expected}{'...' if len(expected) < 64 else ''}: another file")


def _validator(answer: httpx2.Response) -> str:
    """Returns the value for an If-Range header: the ETag of the answer, or its Last-Modified date; "" if it has neither.

    A weak ETag is not used, because it is not allowed in an If-Range header (RFC 9110, section 13.1.5).
    """
    etag = answer.headers.get("etag", "")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("last-modified", "")


def _reason(error: Exception) -> str:
    """Returns the text of an error, with the name of its class in front for errors of httpx2."""
    return f"{type(error).__name__}: {error}" if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL) else str(error)


@contextmanager
def _bar(name: str, start: int, total: int | None, wanted: bool) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar on stderr inside the `with` block, and yields a function that advances it by a number of bytes.

    Args:
        name: Text in front of the bar.
        start: Number of bytes that are already there.
        total: Number of bytes of the complete file; None if it is unknown.
        wanted: Whether to show the bar; none is shown if stderr is not a terminal.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not (wanted and console.is_terminal)) as progress:
        task = progress.add_task(name, total=total, completed=start)
        yield lambda count: progress.advance(task, count)
