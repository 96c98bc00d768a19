"""`PredictionLog`: writes what was predicted into files that rotate, one JSON object a line, in a thread of its own.

It is off unless a folder is set. A line says which class a model found the most likely for an image or a text of its users, so
that its accuracy on them can be looked at. It has the keys `time`, `request_id`, `model`, `label`, `index` and `probability`,
and the image file in base64 as `image` only if that is asked for. It has no text of a client but the id of the request.
"""

from __future__ import annotations

import base64
import errno
import io
import json
import logging
import os
import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hubserve.errors import OutputError
from hubserve.service.engine import Answer
from hubserve.service.fair_order import QueuedData
from hubserve.service.metrics import UNLOGGED
from hubserve.service.settings import ServiceSettings
from hubserve.service.tensor_engine import TensorAnswer

log = logging.getLogger("hubserve.service")

MOST_WAITING = 256
"""Largest number of requests whose lines wait to be written; those of further requests are left out, and counted."""

MOST_WAITING_BYTES = 64 * 10**6
"""Largest number of bytes of the images whose lines wait. If those of a request exceed it, all its lines are left out."""

MOST_PROCESSES = 1_000
"""Largest number of processes that write into one folder."""


class PredictionLog:
    """Writes the predictions of requests. Each process has files of its own, "predictions-N.jsonl"; older ones end in .1, .2.

    Args:
        folder: Where the files are; it is made, with mode 0700, if it does not exist.
        settings: Settings of the service: size and number of the files, and whether lines have images.

    Raises:
        OutputError: The folder cannot be made or written, or `MOST_PROCESSES` processes write into it.
    """

    def __init__(self, folder: Path, settings: ServiceSettings) -> None:
        size, count = int(settings.prediction_log_mb * 1e6), settings.prediction_log_files
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock, path = _own_file(folder)
            self._file = _LinesFile(path, maxBytes=size, backupCount=count - 1)
        except OSError as error:
            raise OutputError(
                f"HUBSERVE_PREDICTION_LOG={folder}: {error.strerror or error}; name a folder that this user can write"
            ) from error
        self._images = settings.prediction_log_images
        self._waiting: queue.Queue[tuple[list[dict[str, Any]], int] | None] = queue.Queue(MOST_WAITING)
        self._waiting_bytes = 0
        self._bytes_lock = threading.Lock()
        self._failed = False
        self._thread = threading.Thread(target=self._write_all, name="prediction-log", daemon=True)
        self._thread.start()

    def note(
        self,
        request_id: str | None,
        tag: str,
        images: Sequence[QueuedData],
        outcomes: Sequence[Answer | TensorAnswer | BaseException],
    ) -> None:
        """Records the predictions of a request, without waiting for the file. Images with an error and tensors are left out.

        If too much waits to be written, none of them is recorded, and all are counted in `UNLOGGED`.

        Args:
            request_id: Id of the request; None if it has none.
            tag: Tag of the version that answered.
            images: What was submitted for each image. Only the line of an image file may have the image; no line has a text.
            outcomes: Answer or error of each image, in the same order.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        lines, size = [], 0
        for image, outcome in zip(images, outcomes, strict=True):
            if isinstance(outcome, Answer):
                best = outcome.predictions[0]
                line: dict[str, Any] = {"time": now, "request_id": request_id, "model": tag, **best.model_dump()}
                if self._images and isinstance(image, bytes):
                    line["image"] = image
                    size += len(image)
                lines.append(line)
        with self._bytes_lock:
            full = self._waiting_bytes + size > MOST_WAITING_BYTES
            self._waiting_bytes += 0 if full else size
        try:
            if full:
                raise queue.Full
            self._waiting.put_nowait((lines, size))
        except queue.Full:
            UNLOGGED.inc(len(lines))
            if not full:
                self._forget(size)

    def close(self, seconds: float = 5.0) -> None:
        """Writes the lines that wait, then closes and unlocks the file.

        If the lines are not written in time, an error is logged, and the file stays open and locked until the process ends.

        Args:
            seconds: Longest time in seconds to wait for a place in the queue, and once more for the thread to write the lines.
        """
        with suppress(queue.Full):
            self._waiting.put(None, timeout=seconds)
            self._thread.join(seconds)
        if self._thread.is_alive():
            log.error("the last predictions were not written within %g s", seconds)
            return
        with suppress(OSError):
            self._file.close()
        self._lock.release()

    def _write_all(self) -> None:
        """Writes lines until the log is closed."""
        while (item := self._waiting.get()) is not None:
            lines, size = item
            for line in lines:
                self._write(line)
            self._forget(size)

    def _write(self, line: dict[str, Any]) -> None:
        """Writes a line. If that fails, it is counted in `UNLOGGED`; only the first of several failures in a row is logged."""
        if "image" in line:
            line["image"] = base64.b64encode(line["image"]).decode("ascii")
        try:
            self._file.append(json.dumps(line))
            self._failed = False
        except OSError as error:  # Such as a full disk. Requests are answered, whatever becomes of this file.
            UNLOGGED.inc()
            if not self._failed:
                log.error("predictions cannot be written: %s", error.strerror or error)
            self._failed = True

    def _forget(self, size: int) -> None:
        """Subtracts the bytes of images that no longer wait."""
        with self._bytes_lock:
            self._waiting_bytes -= size


class _LinesFile(RotatingFileHandler):
    """A file of whole lines that only this user can read, since it says what was classified.

    It is not buffered, so that a line that could not be written is not written later, after it was counted as lost.
    """

    stream: Any
    _is_cut: bool

    def append(self, line: str) -> None:
        """Appends a line, to a new file if this one would become too large. Raises OSError if not all of it was written."""
        record = logging.LogRecord("predictions", logging.INFO, "", 0, line, None, None)
        if self.shouldRollover(record):
            self.doRollover()
        data = b"\n" * self._is_cut + line.encode() + b"\n"
        written = self.stream.write(data)
        if written < len(data):
            self._is_cut = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_cut = False

    def _open(self) -> Any:
        """Opens the file for appending, with mode 0600 if it is new, and notes whether a killed process left half a line."""
        stream = io.FileIO(self.baseFilename, "a+", opener=lambda path, flags: os.open(path, flags, 0o600))
        end = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, end - 1))
        self._is_cut = end > 0 and stream.read(1) != b"\n"
        return stream


def _own_file(folder: Path) -> tuple[FileLock, Path]:
    """Returns the lock of a file in `folder`, which this process now holds, and the path of the file.

    Raises:
        OSError: The folder cannot be written, or `MOST_PROCESSES` processes write into it.
    """
    for number in range(MOST_PROCESSES):
        lock = FileLock(folder / f".predictions-{number}.lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        return lock, folder / f"predictions-{number}.jsonl"
    raise OSError(f"{MOST_PROCESSES} processes write there")
