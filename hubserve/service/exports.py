"""`Exports`: starts, lists and stops exports that are requested over HTTP. Each runs in a process of its own.

`hubserve.service.export_folder` describes the folder of an export. The state is read from the folder at each call, so that it
survives a restart of the server, as the process does.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import sys
import threading
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hubserve import home
from hubserve.atomic import staged_file
from hubserve.background import STOP_SECONDS, BackgroundProcess, end_of_log
from hubserve.errors import JobError, JobNotFoundError, OverloadedError
from hubserve.failure_reason_file import read_reserved
from hubserve.sequence_number import read_number, write_next_number
from hubserve.service.export_folder import (
    ACTIVE,
    GROUP,
    LIMITS,
    LOCK,
    LOG,
    PACKAGE,
    REASON,
    REQUEST,
    STOP,
    ZIP,
    ExportLimits,
    ExportRequest,
    ExportStatus,
    SavedRequest,
    read_phase,
)
from hubserve.storage_faults import denial, denied, storage_error

log = logging.getLogger("hubserve.service")

KEPT = 20
"""Number of folders that are kept, with that of a new export: when it starts, the newest `KEPT` - 1 ended exports remain."""

WORKER = "hubserve.workers.export"


class Exports:
    """Starts exports, reads their states, and stops them.

    Args:
        most: Largest number of exports that run at once.
        limits: Limits of each export.

    Raises:
        OutputError: No folder can serve as HUBSERVE_HOME.
    """

    def __init__(self, most: int, limits: ExportLimits) -> None:
        self._most = most
        self._limits = limits
        self._folder = home.home() / "exports"
        self._starting = threading.Lock()

    def check_number_running(self) -> list[ExportStatus]:
        """Checks that another export may start, and returns the states of all exports, as `list` does.

        Raises:
            OverloadedError: The largest allowed number of exports is running.
            JobError: The folder of exports cannot be listed.
        """
        listed = self.list()
        if sum(status.state in ACTIVE for status in listed) >= self._most:
            raise OverloadedError(
                f"at most {self._most} exports run at once; ask again when one is done, or stop one by DELETE /exports/{{id}}"
            )
        return listed

    def start(self, request: ExportRequest) -> ExportStatus:
        """Starts the process of an export and returns its state. Removes the folders of old exports; see `KEPT`.

        The request is not checked here: if it cannot be carried out, the state of the export becomes "failed".

        Raises:
            OverloadedError: The largest allowed number of exports is running.
            JobError: The folder of exports cannot be listed, or the process cannot be started.
            StorageError: The folder of the export cannot be written.
        """
        with self._starting:
            for old in [status for status in self.check_number_running() if status.state not in ACTIVE][KEPT - 1 :]:
                shutil.rmtree(self._folder / old.id, ignore_errors=True)
            now = datetime.now(UTC)
            folder = self._folder / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
            try:
                folder.mkdir(parents=True)
                (folder / REQUEST).write_text(SavedRequest(created=now, request=request).model_dump_json())
                write_next_number(folder, self._folder.glob("*/"))
                (folder / LIMITS).write_text(self._limits.model_dump_json())
                _start(folder, self._limits)
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise storage_error(error, folder) or JobError(f"cannot start an export: {error.strerror or error}") from error
        return self.read(folder.name)

    def list(self) -> list[ExportStatus]:
        """Returns the states of all exports that can be read, newest first.

        Raises:
            JobError: The folder of exports cannot be listed.
        """
        found = []
        if why := denied(self._folder):
            raise JobError(f"the exports cannot be listed: {why}")
        for path in sorted(self._folder.glob("*/"), key=lambda path: (read_number(path), path), reverse=True):
            try:
                found.append(self.read(path.name))
            except JobNotFoundError:
                pass
            except JobError as error:
                log.warning("%s", error)
        return found

    def read(self, identity: str) -> ExportStatus:
        """Returns the state of the export with the id `identity`.

        Raises:
            JobNotFoundError: There is no such export, or its request.json is missing or corrupt.
            JobError: This user may not read its files.
        """
        folder = self._folder / identity
        try:
            if not re.fullmatch(r"[0-9a-f-]{1,40}", identity):
                raise OSError
            saved = SavedRequest.model_validate_json((folder / REQUEST).read_bytes())
        except PermissionError as error:
            raise JobError(f"export {identity} cannot be read: {denial(error, folder / REQUEST)}") from error
        except (OSError, ValidationError) as error:
            raise JobNotFoundError(f"there is no export {identity[:60]!r}; GET /exports lists them") from error
        # Asked before its files are read: it may end in between.
        running = _process(folder).is_alive()
        known: dict[str, Any] = {"id": identity, "created": saved.created, "request": saved.request}
        if (folder / PACKAGE).is_dir():
            url = f"/exports/{identity}/package"
            message = "the package is complete, and its formats give the same logits"
            return ExportStatus(**known, state="done", phase="done", message=message, package=url)
        phase = read_phase(folder)
        stop = (folder / STOP).exists()
        if running:
            state = {"state": "stopping", "message": "stopping"} if stop else {"state": "running"}
            return ExportStatus(**known | phase.model_dump() | state)
        if stop:
            return ExportStatus(**known, state="stopped", phase=phase.phase, message="it was stopped")
        return ExportStatus(**known, state="failed", phase=phase.phase, message="it failed", error=_why(folder))

    def stop(self, identity: str) -> ExportStatus:
        """Asks an export to stop and returns its state at once. An export that has ended stays as it is.

        The state is "stopping" until all its processes have ended, which usually takes less than 5 s, and then "stopped"; but
        "done" if the package was complete before.

        Raises:
            JobNotFoundError: There is no such export.
            JobError: This user may not read its files.
        """
        if self.read(identity).state in ACTIVE:
            _process(self._folder / identity).end_soon()
        return self.read(identity)

    def end(self, identity: str) -> ExportStatus:
        """Stops an export, waits until all its processes have ended, and returns its state. Raises what `stop` raises.

        After `STOP_SECONDS` the processes are killed. If one has not ended even some seconds later, the state is "stopping".
        """
        self.stop(identity)
        _process(self._folder / identity).kill_after(STOP_SECONDS)
        return self.read(identity)

    def archive(self, identity: str) -> Path:
        """Returns the path of the package as a ZIP file. The file is written at the first call.

        Raises:
            JobNotFoundError: There is no such export, or it has no package.
            JobError: This user may not read its files.
            StorageError: The ZIP file cannot be written.
        """
        if self.read(identity).state != "done":
            raise JobNotFoundError(f"export {identity} has no package (yet); GET /exports/{identity} says why")
        folder = self._folder / identity
        if not (folder / ZIP).is_file():
            # Without compression: weights do not get smaller.
            with staged_file(folder / ZIP) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted((folder / PACKAGE).iterdir()):
                    archive.write(path, f"{PACKAGE}/{path.name}")
        return folder / ZIP


def _process(folder: Path) -> BackgroundProcess:
    """Returns a handle to the process of the export in `folder`."""
    return BackgroundProcess(folder / LOCK, folder / GROUP, folder / STOP, folder / REASON)


def _start(folder: Path, limits: ExportLimits) -> None:
    """Starts the process of the export in `folder`. Raises OSError if it cannot be started or a file cannot be written."""
    process = _process(folder)
    lock = process.take_lock()
    try:
        process.start(
            [sys.executable, "-m", WORKER, str(folder)],
            log=folder / LOG,
            lock=lock,
            # In its own folder: a model's name is never taken for that of a folder that happens to lie in the working folder.
            cwd=folder,
            seconds=limits.seconds,
            memory_mb=limits.memory_mb,
        )
    finally:
        # The started process has a copy of this descriptor, and the lock with it.
        os.close(lock)


def _why(folder: Path) -> str:
    """Returns why an export failed: its reason file, or else the last lines of its log, or that the disk is full."""
    return read_reserved(folder / REASON) or end_of_log(folder / LOG)
