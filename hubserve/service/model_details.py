"""`ModelDetails`: finds size, drawing and latency of versions in the store. A worker process counts and draws each one once.

Counting operations and drawing need torch and a plotting library, which the server's process does not load. The worker, `python
-m hubserve.workers.describe_package`, writes files into HUBSERVE_HOME/figures. Their names are a hash of the package's
manifest.
"""

import hashlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hubserve import home
from hubserve.errors import HubserveError, ModelNotFoundError
from hubserve.package.package import MANIFEST
from hubserve.store import StoredModel

log = logging.getLogger("hubserve.service")

WORKER = "hubserve.workers.describe_package"
SECONDS = 120.0
"""Time limit in seconds of a worker, for all versions that it is given."""

RETRY_SECONDS = 60.0
"""Seconds before a worker is started again for a version for which it has written nothing, for example on a full disk."""


class NetworkSize(BaseModel):
    """The size of a network, as the worker writes it to a file.

    Attributes:
        params: Number of parameters; None if the network cannot be built here.
        macs: Number of multiply-accumulate operations for one image or sequence; None if the network cannot be built here.
        problem: Why the network cannot be built or drawn; None if it can.
    """

    model_config = ConfigDict(frozen=True)

    params: int | None = None
    macs: int | None = None
    problem: str | None = None


class ModelDetails:
    """Reads the files that the worker has written, and starts the worker for versions that have none.

    Raises:
        OutputError: No folder can serve as HUBSERVE_HOME.
    """

    def __init__(self) -> None:
        self._folder = home.home() / "figures"
        self._working = threading.Lock()
        self._asked: set[str] = set()
        self._failed: dict[str, float] = {}

    def size_of(self, model: StoredModel) -> NetworkSize | None:
        """Returns the size of the network of a version; None until the worker, which `prepare` starts, has counted it.

        If the worker could not build the network, the numbers in the result are None.
        """
        try:
            return NetworkSize.model_validate_json((self._folder / f"{_name(model)}.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def prepare(self, models: Sequence[StoredModel]) -> None:
        """Starts the worker for those of the versions that have no files yet. Does not wait for it.

        It does so once for each version: if the worker fails, only `drawing_of` starts it again.
        """
        fresh = {_name(model): model for model in models if _name(model) not in self._asked and self.size_of(model) is None}
        if fresh:
            self._asked.update(fresh)
            threading.Thread(target=self._make, args=(list(fresh.values()),), name="figures", daemon=True).start()

    def drawing_of(self, model: StoredModel) -> Path:
        """Returns the path of the SVG file with a drawing of the version's arch. Waits for the worker if there is none yet.

        If the worker failed for this version less than `RETRY_SECONDS` ago, it is not started again.

        Raises:
            ModelNotFoundError: The arch cannot be drawn here, or the worker failed; the message, or the log, says why.
        """
        path = self._folder / f"{_name(model)}.svg"
        if not path.is_file():
            self._make([model])
        if not path.is_file():
            found = self.size_of(model)
            reason = (found.problem if found else None) or "the process that draws failed; the server's log says why"
            raise ModelNotFoundError(f"{model.tag} has no drawing: {reason}")
        return path

    def latency_of(self, model: StoredModel) -> float | None:
        """Returns the median latency of the format "onnx" at batch size 1, in milliseconds.

        Returns None if the package, or its profile, cannot be read or does not have it.
        """
        try:
            report = model.package.profile or {}
            found = [row for row in report["formats"] if row["format"] == "onnx" and row["batch_size"] == 1]
            medians = [entry["value"] for entry in found[0]["percentiles"] if entry["percent"] == 50.0]
            return float(medians[0])
        except (HubserveError, LookupError, TypeError, ValueError):
            return None

    def _make(self, models: Sequence[StoredModel]) -> None:
        """Runs the worker for those of the versions that have no files, and waits for it. Only one runs at a time.

        Versions for which it failed less than `RETRY_SECONDS` ago are left out. Its errors are logged.
        """
        # One worker at a time; it gives itself the lowest priority.
        with self._working:
            since = time.monotonic() - RETRY_SECONDS
            missing = [
                model for model in models if self.size_of(model) is None and self._failed.get(_name(model), since) <= since
            ]
            if not missing:
                return
            command = [sys.executable, "-m", WORKER, str(self._folder), *(str(model.path) for model in missing)]
            try:
                ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
            except (OSError, subprocess.TimeoutExpired) as error:
                log.warning("figures of %s: %s", models[0].tag, error)
            else:
                if ended.returncode:
                    log.warning("figures of %s: %s", models[0].tag, ended.stderr[-2000:])
            self._note_failures(missing)

    def _note_failures(self, models: Sequence[StoredModel]) -> None:
        """Records for which of the versions the worker has written nothing, so that it is not started again too soon."""
        for model in models:
            if self.size_of(model) is None:
                self._failed[_name(model)] = time.monotonic()
            else:
                self._failed.pop(_name(model), None)


def _name(model: StoredModel) -> str:
    """Returns the name of a version's files, which is a hash of its manifest; "gone" if the version was deleted."""
    try:
        return hashlib.sha256((model.path / MANIFEST).read_bytes()).hexdigest()[:24]
    except OSError:
        return "gone"
