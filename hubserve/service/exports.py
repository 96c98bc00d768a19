"""Exports over HTTP: each is a process of its own (`hubserve.workers.export`), with a folder for everything about it.

    HUBSERVE_HOME/exports/<id>/
        request.json    what was asked for, and when
        lock            locked for as long as the process is alive
        group           id of the guard above its process
        stop            exists after a request to stop it
        reason          why it was ended, if it exceeded a limit of time or memory
        limits.json     an ExportLimits
        phase.json      what the process is doing; written by the worker
        log.txt         what the process printed
        package/        the package, once it is complete
        package.zip     the same, made for the first download

The state of an export is read from its folder each time, so it survives a restart of the server, as the process does.
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
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hubserve import home
from hubserve.atomic import staged_file, write_atomic
from hubserve.background import STOP_SECONDS, BackgroundProcess, end_of_log
from hubserve.errors import JobError, JobNotFoundError, OverloadedError
from hubserve.package.manifest import ALL_FORMATS, Format
from hubserve.reserved_file import read_reserved
from hubserve.sequence_number import read_number, write_next_number
from hubserve.storage_faults import denial, denied, storage_error

log = logging.getLogger("hubserve.service")

KEPT = 20
"""How many folders of ended exports are kept; older ones are removed."""

WORKER = "hubserve.workers.export"

PACKAGE, REQUEST, LIMITS, LOCK, GROUP = "package", "request.json", "limits.json", "lock", "group"
STOP, REASON = "stop", "reason"
PHASE, LOG, ZIP = "phase.json", "log.txt", "package.zip"

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]

ExportState = Literal["running", "stopping", "done", "failed", "stopped"]
ACTIVE: frozenset[ExportState] = frozenset({"running", "stopping"})
"""States in which a process works on the export."""


class ExportLimits(BaseModel):
    """Limits of an export, which hold until it ends, also when the server is started again.

    Attributes:
        seconds: Wall-clock time after which it is killed.
        memory_mb: Memory of all its processes together, in megabytes, above which it is killed.
        modules: Largest number of modules of a network that is built.
        parameters: Largest number of parameters of a network that is built.
        own_code: Whether spaces that hubserve itself does not have may be named, which are imported then.
    """

    model_config = ConfigDict(frozen=True)

    seconds: float
    memory_mb: float
    modules: int
    parameters: int
    own_code: bool = False


class ExportRequest(BaseModel):
    """What to export: a model, or an arch of a space.

    Attributes:
        model: An alias, a name or tag in the store, or a pre-searched model, looked up in this order.
        space: Class name of a model space, given together with `arch`; where the server allows it, also its import path.
        settings: Settings of the space.
        arch: The arch to export: label -> value.
        formats: Formats to export, any but "onnx-int8"; an empty list means "onnx", "torchscript" and "pt2".
        random_weights: Whether a pre-searched model gets fresh weights in place of the published ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName | None = None
    space: ModelName | None = None
    settings: dict[str, Any] = {}
    arch: dict[str, Any] | None = None
    formats: Annotated[list[Format], Field(max_length=8)] = []
    random_weights: bool = False

    @model_validator(mode="after")
    def _one_of_two(self) -> ExportRequest:
        if (self.model is None) == (self.space is None) or (self.space is None) != (self.arch is None):
            raise ValueError("name a model, or give a space together with an arch")
        if self.model is not None and self.settings:
            raise ValueError("settings belong to a space; a model has its own")
        if "onnx-int8" in self.formats:
            possible = ", ".join(name for name in ALL_FORMATS if name != "onnx-int8")
            raise ValueError(
                f"onnx-int8 learns its ranges from images, and none can be given here: formats may have {possible}; "
                "`hubserve export --format onnx-int8 --images FOLDER` makes it"
            )
        return self


class ExportPhase(BaseModel):
    """What the process of an export is doing, as it writes it to phase.json.

    Attributes:
        phase: "load" while the model is built, "export" while its formats are written and compared, then "done".
        message: One sentence that says more.
    """

    phase: Literal["load", "export", "done"] = "load"
    message: str = "the model is being built"


class ExportStatus(BaseModel):
    """The state of an export.

    Attributes:
        id: Name of its folder.
        state: Whether its process is running, is asked to stop, ended with a package, without one, or because it was stopped.
        phase: What its process is doing, or was doing when it ended.
        message: One sentence about that.
        created: When it was requested.
        request: What was requested.
        error: The last lines of its log; None unless the state is "failed".
        package: Path of the download on this server; None unless the state is "done".
    """

    id: str
    state: ExportState
    phase: Literal["load", "export", "done"]
    message: str
    created: datetime
    request: ExportRequest
    error: str | None = None
    package: str | None = None


class SavedRequest(BaseModel):
    """The content of request.json.

    Attributes:
        created: When the export was requested.
        request: What was requested.
    """

    created: datetime
    request: ExportRequest


class Exports:
    """Starts exports, and reads their folders.

    Args:
        most: Largest number of exports that run at once.
        limits: Limits of each export.
    """

    def __init__(self, most: int, limits: ExportLimits) -> None:
        self._most = most
        self._limits = limits
        self._folder = home.home() / "exports"
        self._starting = threading.Lock()

    def check_number_running(self) -> list[ExportStatus]:
        """Returns the status of all exports. Raises OverloadedError if the largest allowed number of exports is running."""
        listed = self.list()
        if sum(status.state in ACTIVE for status in listed) >= self._most:
            raise OverloadedError(
                f"at most {self._most} exports run at once; ask again when one is done, or stop one by DELETE /exports/{{id}}"
            )
        return listed

    def start(self, request: ExportRequest) -> ExportStatus:
        """Starts the process of an export.

        Raises:
            OverloadedError: As many run already as may run at once.
            JobError: The process cannot be started.
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
        """Returns the status of every readable export, newest first. Raises JobError if their folder cannot be listed."""
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
        """Returns the status of an export. Raises JobNotFoundError if there is none, JobError if this user may not read it."""
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
        """Asks an export to end and returns at once; an export that ended stays as it is.

        Its state is "stopping" until all its processes have ended, which takes less than 5 s, and "stopped" then.

        Raises:
            JobNotFoundError: There is no such export.
        """
        if self.read(identity).state in ACTIVE:
            _process(self._folder / identity).end_soon()
        return self.read(identity)

    def end(self, identity: str) -> ExportStatus:
        """Stops an export like `stop`, and waits until all its processes have ended."""
        self.stop(identity)
        _process(self._folder / identity).kill_after(STOP_SECONDS)
        return self.read(identity)

    def archive(self, identity: str) -> Path:
        """The package as a ZIP file. Raises JobNotFoundError where there is no such export, or no package of it."""
        if self.read(identity).state != "done":
            raise JobNotFoundError(f"export {identity} has no package (yet); GET /exports/{identity} says why")
        folder = self._folder / identity
        if not (folder / ZIP).is_file():
            # Without compression: weights do not get smaller.
            with staged_file(folder / ZIP) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted((folder / PACKAGE).iterdir()):
                    archive.write(path, f"{PACKAGE}/{path.name}")
        return folder / ZIP


def read_limits(folder: Path) -> ExportLimits:
    """The limits of an export, for its process. Raises OSError or ValidationError where the file is not readable."""
    return ExportLimits.model_validate_json((folder / LIMITS).read_bytes())


def read_request(folder: Path) -> ExportRequest:
    """What was asked for, for the process of the export. Raises OSError or ValidationError where the file is not readable."""
    return SavedRequest.model_validate_json((folder / REQUEST).read_bytes()).request


def write_phase(folder: Path, phase: ExportPhase) -> None:
    """Replaces phase.json in one step; called by the process of the export."""
    write_atomic(folder / PHASE, phase.model_dump_json() + "\n")


def read_phase(folder: Path) -> ExportPhase:
    """What the process of an export wrote last; the first phase where it has not written yet."""
    try:
        return ExportPhase.model_validate_json((folder / PHASE).read_bytes())
    except (OSError, ValidationError):
        return ExportPhase()


def _process(folder: Path) -> BackgroundProcess:
    return BackgroundProcess(folder / LOCK, folder / GROUP, folder / STOP, folder / REASON)


def _start(folder: Path, limits: ExportLimits) -> None:
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
    """Why an export failed: the reason that was kept for it, a full disk, or what it printed last."""
    return read_reserved(folder / REASON) or end_of_log(folder / LOG)
