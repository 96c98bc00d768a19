"""Limits on the values in `settings` and `arguments` of a job that was submitted over HTTP, whatever their names."""

import math
from typing import Any

from hubserve.errors import SpaceError
from hubserve.jobs.limits import JobLimits

MAX_TEXT, MAX_ENTRIES, MAX_DEPTH, MAX_NUMBER = 200, 256, 4, 100_000
"""Limits on values in `settings` and `arguments`.

They are the characters of a string, the entries of a list or mapping, the levels of lists and mappings in each other, and the
absolute value of a number.
"""

SIZES = ("size", "resize", "input_size", "img_size")
"""Names of settings of data sets and spaces that are lengths in pixels."""


def check_values(key: str, value: Any) -> None:
    """Checks that settings, or an arch, consist of small numbers, strings, lists and mappings; see `MAX_TEXT`.

    True, False and None are allowed too.

    Raises:
        SpaceError: A value is too large, nested too deeply, or of another type; the message begins with `key`.
    """
    problem = too_large(value, 0)
    if problem is not None:
        raise SpaceError(f"{key}: {problem}")


def too_large(value: Any, depth: int = 0) -> str | None:
    """Returns an error message if a value at the nesting `depth`, or one in it, is not allowed, else None.

    The keys of mappings are checked, too. A text that is a number counts as one.
    """
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return f"a text of {len(value)} characters; {MAX_TEXT} are allowed"
    value = _number(value)
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, int | float):
        ok = -MAX_NUMBER <= value <= MAX_NUMBER or (isinstance(value, float) and math.isnan(value))
        return None if ok else f"numbers up to {MAX_NUMBER:,} are allowed, and a larger one is given"
    if not isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} is given; numbers, texts, lists and mappings are allowed"
    if depth == MAX_DEPTH or len(value) > MAX_ENTRIES:
        return f"at most {MAX_ENTRIES} entries in a list or mapping, and {MAX_DEPTH} of these inside each other, are allowed"
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return next((problem for entry in inner if (problem := too_large(entry, depth + 1)) is not None), None)


def image_sizes(value: Any, limits: JobLimits, setting: Any = None) -> str | None:
    """Returns an error message if a setting of `SIZES` is above `limits.image_size`, else None.

    Settings in mappings and lists at any depth are checked, and each number of a list. `setting` is the name of `value`.
    """
    if isinstance(value, dict):
        found = (image_sizes(entry, limits, name) for name, entry in value.items())
    elif isinstance(value, list | tuple):
        found = (image_sizes(entry, limits, setting) for entry in value)
    else:
        size = _number(value)
        problem = at_most(size, limits.image_size) if setting in SIZES and isinstance(size, int | float) else None
        return problem and f"{setting}: {problem}"
    return next((problem for problem in found if problem is not None), None)


def at_most(value: float, limit: float | None) -> str | None:
    """Returns an error message if `value` is larger than `limit`, else None. A `limit` of None allows all values."""
    return f"{value:,} is more than the {limit:,} that this server allows" if limit is not None and value > limit else None


def _number(value: Any) -> Any:
    """Returns the number that a text is, as which a space or a data set takes it; anything else is returned unchanged."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
