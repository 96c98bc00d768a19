"""The folder of an export: names of its files, the records in them, and functions that read and write these.

The server and the export's process, `hubserve.workers.export`, communicate only through these files.

    HUBSERVE_HOME/exports/ID/
        request.json    a SavedRequest: what was requested, and when
        limits.json     an ExportLimits
        phase.json      an ExportPhase; the export's process replaces it atomically
        lock            locked as long as the export's process is alive
        group           id of the process group, then of the guard above the export's process
        stop            exists after the export was asked to stop
        reason          why the export was killed, for example because it exceeded a limit of time or memory
        log.txt         output of the export's process
        package/        the package; exists once it is complete
        package.zip     the package as a ZIP file, written for the first download
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hubserve.atomic import write_atomic
from hubserve.package.manifest import ALL_FORMATS, INT8_FORMATS, Format

PACKAGE, REQUEST, LIMITS, LOCK, GROUP = "package", "request.json", "limits.json", "lock", "group"
STOP, REASON = "stop", "reason"
PHASE, LOG, ZIP = "phase.json", "log.txt", "package.zip"

ModelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
"""Name of a model or of a class: at most 128 letters, digits and ". _ : -", the first one a letter or a digit."""


ExportState = Literal["running", "stopping", "done", "failed", "stopped"]
"""States of an export; `ExportStatus.state` explains them."""

ACTIVE: frozenset[ExportState] = frozenset({"running", "stopping"})
"""States in which the export's process is alive."""


class ExportLimits(BaseModel):
    """Limits of an export. They hold until it ends, also if the server is restarted.

    Attributes:
        seconds: Wall-clock time in seconds after which the export is killed.
        memory_mb: Memory of all its processes together, in megabytes, above which it is killed.
        modules: Largest number of `nn.Module`s of the networks that it builds.
        parameters: Largest number of parameters of the networks that it builds.
        own_code: If True, the request may name a space outside of hubserve, whose module is then imported.
    """

    model_config = ConfigDict(frozen=True)

    seconds: float
    memory_mb: float
    modules: int
    parameters: int
    own_code: bool = False


class ExportRequest(BaseModel):
    """What to export: either `model`, or an arch of a space by `space` and `arch`.

    Attributes:
        model: An alias, a name or tag in the store, or a pre-searched model; looked for in this order.
        space: Class name of a model space of hubserve; or the import path of another one, if the setting
            `allow_import_paths` is True.
        settings: Keyword arguments of that class; must be empty if `model` is given.
        arch: The arch to export, as the chosen value of each choice by its label.
        formats: At most 8 formats to export; those in 8-bit integers are not allowed. An empty list means "onnx", "pt2" and, if
            this version of Python supports it, "torchscript".
        random_weights: If True, a pre-searched model gets random weights instead of the published ones. An arch of a space
            always gets random weights.

    Raises:
        pydantic.ValidationError: A key is unknown, a value is not allowed, or neither or both of `model` and `space` are given.
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
        """Returns the request itself. Raises ValueError if its keys do not fit together, or a format is in 8-bit integers."""
        if (self.model is None) == (self.space is None) or (self.space is None) != (self.arch is None):
            raise ValueError("name a model, or give a space together with an arch")
        if self.model is not None and self.settings:
            raise ValueError("settings belong to a space; a model has its own")
        if integers := next((name for name in self.formats if name in INT8_FORMATS), None):
            possible = ", ".join(name for name in ALL_FORMATS if name not in INT8_FORMATS)
            raise ValueError(
                f"{integers} learns its ranges from images, and none can be given here: formats may have {possible}; "
                f"`hubserve export --format {integers} --images FOLDER` makes it"
            )
        return self


class ExportPhase(BaseModel):
    """What the process of an export is doing; the content of phase.json.

    Attributes:
        phase: "load" while the network is built, then "export" while its formats are written and compared, and also after that:
            whether an export is done is shown by its package, see `ExportStatus`.
        message: One sentence with details.
    """

    phase: Literal["load", "export"] = "load"
    message: str = "the model is being built"


class ExportStatus(BaseModel):
    """The state of an export, as GET /exports answers it.

    Attributes:
        id: Name of the export's folder.
        state: "running" while the export's process is alive; "stopping" from the request to stop until all its processes have
            ended, then "stopped". "done" once there is a package. "failed" if the process ended without one.
        phase: What the process is doing, or was doing when it ended; see `ExportPhase`.
        message: One sentence about the state.
        created: Time at which the export was requested.
        request: What was requested.
        error: Why it failed, or the last lines of its log; None unless the state is "failed".
        package: Path of the download in URLs of this server; None unless the state is "done".
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
        created: Time at which the export was requested.
        request: What was requested.
    """

    created: datetime
    request: ExportRequest


def read_limits(folder: Path) -> ExportLimits:
    """Returns the limits of the export in `folder`.

    Raises:
        OSError: limits.json cannot be read.
        pydantic.ValidationError: limits.json is corrupt.
    """
    return ExportLimits.model_validate_json((folder / LIMITS).read_bytes())


def read_request(folder: Path) -> ExportRequest:
    """Returns what was requested of the export in `folder`.

    Raises:
        OSError: request.json cannot be read.
        pydantic.ValidationError: request.json is corrupt.
    """
    return SavedRequest.model_validate_json((folder / REQUEST).read_bytes()).request


def write_phase(folder: Path, phase: ExportPhase) -> None:
    """Replaces phase.json in `folder` atomically. Only the process of the export calls it.

    Raises:
        OSError: The file cannot be written; a `StorageError` if the disk is full, read-only or not accessible.
    """
    write_atomic(folder / PHASE, phase.model_dump_json() + "\n")


def read_phase(folder: Path) -> ExportPhase:
    """Returns what the process of the export last wrote to phase.json; the first phase if nothing can be read."""
    try:
        return ExportPhase.model_validate_json((folder / PHASE).read_bytes())
    except (OSError, ValidationError):
        return ExportPhase()
