"""Exports that somebody asked for over HTTP: each is `hubserve export` in a process of its own, with a folder for all about it.

    HUBSERVE_HOME/exports/<id>/
        request.json    what was asked for, and when
        lock            locked for as long as the process lives
        group           number of its process group
        log.txt         what it printed
        package/        there once it is whole
        package.zip     the same, made for the first download

What became of an export is read from the folder each time, so it survives a restart of the server, as the process does.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import sys
import threading
import time
import zipfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hubserve import home
from hubserve.background import start_detached
from hubserve.errors import JobError, OverloadedError
from hubserve.package.manifest import ALL_FORMATS, Format

KEPT = 20
"""Folders of exports that are over; older ones are removed."""

MOST_SECONDS = 3600.0

PACKAGE, REQUEST, LOCK, GROUP, LOG, ZIP = "package", "request.json", "lock", "group", "log.txt", "package.zip"

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]


class ExportRequest(BaseModel):
    """What to export: a model, or an arch of a space.

    Attributes:
        model: an alias, a name or tag in the store, or a pre-searched model, in this order.
        space: a model space, for an arch of one's own.
        settings: of the space.
        arch: label -> value.
        formats: to export, any but "onnx-int8"; those that are proven everywhere unless given.
        random_weights: fresh weights in place of published ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Word | None = None
    space: Word | None = None
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
            possible = ", ".join(form for form in ALL_FORMATS if form != "onnx-int8")
            raise ValueError(
                f"onnx-int8 learns its ranges from pictures, and none can be given here: formats may have {possible}; "
                "`hubserve export --format onnx-int8 --images FOLDER` makes it"
            )
        return self


class ExportStatus(BaseModel):
    """An export.

    Attributes:
        id: name of its folder.
        state: of its process.
        phase: what it is at, or was at when it ended.
        message: one sentence for people.
        created: when it was asked for.
        request: what was asked for.
        error: what went wrong; None unless "failed".
        package: path of the download; None until it is done.
    """

    id: str
    state: Literal["running", "done", "failed"]
    phase: Literal["load", "export", "done"]
    message: str
    created: datetime
    request: ExportRequest
    error: str | None = None
    package: str | None = None


class _Noted(BaseModel):
    created: datetime
    request: ExportRequest


class Exports:
    """Starts exports and tells of them.

    Args:
        most: that run at once.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._folder = home.home() / "exports"
        self._starting = threading.Lock()

    def start(self, request: ExportRequest) -> ExportStatus:
        """Starts a process.

        Raises:
            OverloadedError: as many as may run do.
            JobError: it cannot be started.
        """
        with self._starting:
            listed = self.list()
            if sum(status.state == "running" for status in listed) >= self._most:
                raise OverloadedError(f"at most {self._most} exports run at once; ask again when one is done")
            for old in [status for status in listed if status.state != "running"][KEPT - 1 :]:
                shutil.rmtree(self._folder / old.id, ignore_errors=True)
            now = datetime.now(UTC)
            folder = self._folder / f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
            try:
                folder.mkdir(parents=True)
                (folder / REQUEST).write_text(_Noted(created=now, request=request).model_dump_json())
                _start(folder, _command(folder, request))
            except OSError as error:
                raise JobError(f"cannot start an export: {error.strerror or error}") from error
        return self.read(folder.name)

    def list(self) -> list[ExportStatus]:
        """All whose folders are there, newest first."""
        found = []
        for path in sorted(self._folder.glob(f"*/{REQUEST}"), reverse=True):
            with suppress(JobError):
                found.append(self.read(path.parent.name))
        return found

    def read(self, identity: str) -> ExportStatus:
        """Raises JobError where there is no such export."""
        folder = self._folder / identity
        try:
            if not re.fullmatch(r"[0-9a-f-]{1,40}", identity):
                raise OSError
            noted = _Noted.model_validate_json((folder / REQUEST).read_bytes())
        except (OSError, ValidationError) as error:
            raise JobError(f"there is no export {identity[:60]!r}; GET /exports lists them") from error
        # Before looking at what it left: it may end in between.
        running = _is_running(folder)
        known: dict[str, Any] = {"id": identity, "created": noted.created, "request": noted.request}
        if (folder / PACKAGE).is_dir():
            url = f"/exports/{identity}/package"
            return ExportStatus(**known, state="done", phase="done", message="the package is whole and proven", package=url)
        phase, message = _progress(folder)
        if running:
            return ExportStatus(**known, state="running", phase=phase, message=message)
        return ExportStatus(**known, state="failed", phase=phase, message="it failed", error=_last_words(folder))

    def archive(self, identity: str) -> Path:
        """The package as a ZIP file. Raises JobError where there is none."""
        if self.read(identity).state != "done":
            raise JobError(f"export {identity} has no package (yet); GET /exports/{identity} says why")
        folder = self._folder / identity
        if not (folder / ZIP).is_file():
            temporary = folder / f"{ZIP}.{secrets.token_hex(4)}"
            # Weights do not shrink.
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
                for path in sorted((folder / PACKAGE).iterdir()):
                    archive.write(path, f"{PACKAGE}/{path.name}")
            os.replace(temporary, folder / ZIP)
        return folder / ZIP


def _command(folder: Path, request: ExportRequest) -> list[str]:
    command = [sys.executable, "-m", "hubserve", "export", "--out", str(folder / PACKAGE)]
    for form in request.formats:
        command += ["--format", form]
    if request.random_weights and request.model is not None:
        command.append("--random-weights")
    if request.model is not None:
        return [*command, request.model]
    (folder / "arch.json").write_text(json.dumps(request.arch))
    (folder / "settings.json").write_text(json.dumps(request.settings))
    files = ["--arch", str(folder / "arch.json"), "--settings", str(folder / "settings.json")]
    return [*command, "--space", str(request.space), *files]


def _start(folder: Path, command: list[str]) -> None:
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (folder / LOG).open("wb") as log:
            # In its own folder: a name of a model is never taken for one of a folder that lies somewhere.
            start_detached(command, log=log, lock=lock, group_file=folder / GROUP, cwd=folder)
    finally:
        # The lock is the process's now.
        os.close(lock)
    threading.Thread(target=_see_it_end, args=(folder,), name="export", daemon=True).start()


def _see_it_end(folder: Path) -> None:
    end = time.monotonic() + MOST_SECONDS
    while _is_running(folder):
        if time.monotonic() > end:
            with suppress(OSError, ValueError):
                os.killpg(int((folder / GROUP).read_text()), signal.SIGKILL)
            return
        time.sleep(1)


def _is_running(folder: Path) -> bool:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)


def _progress(folder: Path) -> tuple[Literal["load", "export"], str]:
    """By the files in the hidden folder in which a package is made."""
    with suppress(OSError):
        made = sorted(path.name for stage in folder.glob(f".{PACKAGE}.*") for path in stage.iterdir())
        if made:
            return "export", f"written and being proven: {', '.join(made)}"
    return "load", "the model is being built"


def _last_words(folder: Path) -> str:
    try:
        text = (folder / LOG).read_text("utf-8", "replace").strip()
    except OSError:
        text = ""
    return text[-2000:] or "the process ended without a word; it may have been killed"
