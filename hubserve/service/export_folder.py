"""The folder of an export: the names of its files, the records that they hold, and the functions that read and write them.

The server and the export's process, `hubserve.workers.export`, communicate only through these files.

    HUBSERVE_HOME/exports/ID/
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
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hubserve.atomic import write_atomic
from hubserve.package.manifest import ALL_FORMATS, Format

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
    """

    model_config = ConfigDict(frozen=True)

    seconds: float
    memory_mb: float
    modules: int
    parameters: int


class ExportRequest(BaseModel):
    """What to export: a model, or an arch of a space.

    Attributes:
        model: An alias, a name or tag in the store, or a pre-searched model, looked up in this order.
        space: Class name of a model space, given together with `arch`.
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
