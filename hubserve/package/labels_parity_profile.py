"""Reads labels.txt, parity.json and profile.json of a package; raises PackageError if their content is not as expected."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError

from hubserve.bounded_files import read_bounded_text
from hubserve.errors import PackageError
from hubserve.package.parity import ParityReport
from hubserve.package.tensor_parity import TensorParityReport
from hubserve.storage_faults import denial
from hubserve.validation_sentence import first_mistake

_Reports = TypeAdapter(tuple[ParityReport, ...])


def read_labels(path: Path) -> tuple[str, ...]:
    """Reads labels.txt and returns its lines, one label for each class, in the order of the logits.

    Raises:
        PackageError: The file cannot be read, is larger than 64 MiB, or is not UTF-8.
    """
    # Not splitlines(), which also splits on characters that a label may have.
    return tuple(_text(path, "one class a line; export it again").removesuffix("\n").split("\n"))


def read_parity(path: Path) -> tuple[ParityReport, ...]:
    """Reads parity.json and returns its reports, one for each exported format.

    Raises:
        PackageError: The file cannot be read, is larger than 64 MiB, is not JSON, or does not hold a list of such reports.
    """
    advice = "a list of comparisons with eager PyTorch; export it again"
    found = _json(path, advice)
    try:
        reports = _Reports.validate_python(found)
        # Only models of other inputs than images have a comparison of each output.
        return tuple(
            TensorParityReport.model_validate(entry) if isinstance(entry, dict) and "outputs" in entry else report
            for entry, report in zip(found, reports, strict=True)
        )
    except ValidationError as error:
        mistake = first_mistake(error, whole="its content", show_value=True)
        raise PackageError(f"{path}: {mistake}; expected {advice}") from error


def read_profile(path: Path) -> dict[str, Any]:
    """Reads profile.json and returns the latency report in it; keys of earlier versions are replaced by the present ones.

    Only that it is a JSON object is checked.

    Raises:
        PackageError: The file cannot be read, is larger than 64 MiB, or does not hold a JSON object.
    """
    advice = "an object; measure it again"
    found = _json(path, advice)
    if not isinstance(found, dict):
        raise PackageError(f"{path} holds a {type(found).__name__}; expected {advice}")
    return _renamed(found)


def _renamed(report: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of `report` in which the keys "form" and "forms" of earlier versions are "format" and "formats".

    Keys at the top level and one level below it are renamed.
    """
    names = {"form": "format", "forms": "formats"}

    def part(found: Any) -> Any:
        return {names.get(key, key): value for key, value in found.items()} if isinstance(found, dict) else found

    return {key: list(map(part, found)) if isinstance(found, list) else part(found) for key, found in part(report).items()}


def _json(path: Path, advice: str) -> Any:
    text = _text(path, advice)
    try:
        # NaN and infinite numbers are not JSON, and could not be part of an answer over HTTP.
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{path} begins with {_short(text)} and is not JSON: {error}; expected {advice}") from error


def _text(path: Path, advice: str) -> str:
    try:
        return read_bounded_text(path)
    except PermissionError as error:
        raise PackageError(f"{path} cannot be read: {denial(error, path)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{path} cannot be read as text in UTF-8: {error}; expected {advice}") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large")
    return number


def _short(found: object) -> str:
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:60]}..."
