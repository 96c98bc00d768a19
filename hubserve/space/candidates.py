"""`plain_candidates`: checks the candidates of a choice when it is asked for, and makes plain values of numpy's scalars."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from hubserve.errors import SpaceError

_PLAIN = frozenset({str, int, bool, type(None)})


def plain_candidates(label: str, candidates: Iterable[Any]) -> tuple[Any, ...]:
    """Returns the candidates of a choice as a tuple of numbers, strings, bools and None, which archs and studies can store.

    Scalars of numpy become numbers, strings or bools of Python.

    Args:
        label: Name of the choice, for errors.
        candidates: The candidates, in a fixed order, such as a tuple, a range or an array of one dimension.

    Raises:
        SpaceError: They are a set or not iterable, one is neither a finite number, nor a string, a bool or None, or two are
            equal.
    """
    unordered = isinstance(candidates, set | frozenset)
    if unordered or not isinstance(candidates, Iterable):
        why = "have no fixed order" if unordered else "are no sequence"
        raise SpaceError(f"choice {label!r}: candidates of type {type(candidates).__name__} {why}; give a tuple")
    # Builders ask thousands of times a second, so the usual types pass here.
    found = tuple(candidate if type(candidate) in _PLAIN else _plain(label, candidate) for candidate in candidates)
    if len(set(found)) < len(found):
        raise SpaceError(f"choice {label!r} lists a candidate twice: {found}")
    return found


def _plain(label: str, candidate: Any) -> Any:
    plain = candidate.item() if isinstance(candidate, np.generic) else candidate
    if isinstance(plain, float) and not math.isfinite(plain):
        raise SpaceError(f"choice {label!r}: the candidate {plain} is no finite number")
    if plain is None or isinstance(plain, bool | int | float | str):
        return plain
    raise SpaceError(
        f"choice {label!r}: the candidate {candidate!r} is a {type(candidate).__name__}, and archs hold numbers and strings; "
        f"name the candidates and look up what a name stands for: TABLE[pick({label!r}, tuple(TABLE))]"
    )
