"""`KeptMeasurements`: keeps results of measurements in a file of HUBSERVE_HOME, so that the next start need not measure."""

from __future__ import annotations

import logging
from typing import Generic, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from hubserve import home
from hubserve.atomic import write_atomic
from hubserve.package.manifest import Manifest

log = logging.getLogger("hubserve.service")

Result = TypeVar("Result", bound=BaseModel)
"""The class of the results."""


class KeptMeasurements(Generic[Result]):
    """A JSON file in HUBSERVE_HOME with the result of each measurement, by a key that says what was measured, and where.

    Args:
        name: Name of the file.
        adapter: Reads and writes the results with their keys.
    """

    def __init__(self, name: str, adapter: TypeAdapter[dict[str, Result]]) -> None:
        self._name = name
        self._adapter = adapter

    def read(self) -> dict[str, Result]:
        """Returns the results in the file by their keys; empty if it does not exist or cannot be read.

        Raises:
            OutputError: No folder can serve as HUBSERVE_HOME.
        """
        try:
            return self._adapter.validate_json((home.home() / self._name).read_bytes())
        except (OSError, ValidationError):
            return {}

    def add(self, key: str, result: Result) -> None:
        """Writes a result into the file, beside those that it has, replacing one of the same key.

        If the file cannot be written, logs a warning. If it could not be read, the new result is its only one.

        Raises:
            OutputError: No folder can serve as HUBSERVE_HOME.
        """
        path = home.home() / self._name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = self._adapter.dump_json({**self.read(), key: result}, indent=2).decode()
            write_atomic(path, text + "\n")
        except OSError as error:  # The next start measures again.
            log.warning("%s cannot be written: %s", path, error)


def model_key(manifest: Manifest) -> str:
    """Returns a text that identifies the network and the weights of a package, for the keys of results."""
    return f"{manifest.name} {manifest.files['weights.safetensors'].sha256[:16]}"
