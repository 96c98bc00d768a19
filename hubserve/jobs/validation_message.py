"""`explain`: the error message for an invalid job definition, with each wrong key, what was found and what is allowed."""

import types
from collections.abc import Iterable
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hubserve.similar_names import suggest

MOST = 10
"""Largest number of mistakes that a message lists."""


def explain(error: ValidationError, record: type[BaseModel]) -> str:
    """Returns the message for a failed validation: one clause for each mistake, at most `MOST`, separated by semicolons.

    Args:
        error: The error that pydantic raised.
        record: The class that the data were validated against; its keys are suggested in place of unknown ones.
    """
    details = error.errors(include_url=False, include_context=True)
    clauses = [_clause(entry, record) for entry in details[:MOST]]
    more = len(details) - MOST
    return "; ".join(clauses) + (f"; and {more} more" if more > 0 else "")


def _clause(entry: ErrorDetails, record: type[BaseModel]) -> str:
    """Returns the clause of the message for one mistake; `record` is the class that the whole mapping was validated against."""
    where = ".".join(str(part) for part in entry["loc"] if part != "[key]") or "the whole"
    found, kind = entry.get("input"), entry["type"]
    parent = _record_at(record, entry["loc"][:-1])
    if kind == "extra_forbidden" and parent is not None:
        return f"{where}: there is no such key. {_near(str(entry['loc'][-1]), parent.model_fields)}"
    if kind == "missing":
        return f"{where} is missing"
    if kind == "literal_error":
        allowed = str(entry.get("ctx", {}).get("expected", ""))
        names = [name.strip("' ") for name in allowed.replace(" or ", ", ").split(", ")]
        return f"{where} = {found!r} is not one of {', '.join(names)}.{_did_you_mean(found, names)}"
    if kind == "value_error":
        return f"{where}: {entry['ctx']['error']}"
    return f"{where} = {_short(found)}: {entry['msg'][:1].lower()}{entry['msg'][1:]}"


def _near(name: str, known: Iterable[str]) -> str:
    """Returns a sentence with the allowed names, preceded by those that are similar to `name` if there are any."""
    names = list(known)
    near = suggest(name, names)
    allowed = f"Allowed: {', '.join(names)}"
    return f"{near} {allowed}" if near.startswith("Did") else allowed


def _did_you_mean(found: Any, names: list[str]) -> str:
    """Returns " Did you mean ...?" with the names that are similar to `found`; an empty string if there are none."""
    near = suggest(str(found), names)
    return f" {near}" if near.startswith("Did") else ""


def _short(found: Any) -> str:
    """Returns the repr of a value, cut to 60 characters."""
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _record_at(record: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Returns the class of the record at the keys `path`, starting from the class `record`; None if there is no record."""
    here: type[BaseModel] | None = record
    for part in path:
        if here is None or part not in here.model_fields:
            return None
        here = _record_in(here.model_fields[str(part)].annotation)
    return here


def _record_in(annotation: Any) -> type[BaseModel] | None:
    """Returns the record class in a type annotation, which may be a union with None; None if there is no record class in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for found in map(_record_in, get_args(annotation)) if found is not None), None)
    return None
