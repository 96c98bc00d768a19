"""Collects the schemas of JSON bodies that routes read themselves, for the OpenAPI document."""

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

REFERENCE = "#/components/schemas/{model}"
"""Reference to a schema in the document."""

_described: list[type[BaseModel]] = []


def schema_of(model: type[BaseModel]) -> dict[str, str]:
    """Adds `model` to those that `schemas` describes, and returns a reference to its schema: {"$ref": ...}."""
    if model not in _described:
        _described.append(model)
    return {"$ref": REFERENCE.format(model=model.__name__)}


def schemas() -> dict[str, Any]:
    """Returns the schemas of all models that `schema_of` was called with, and of those in them, by name."""
    _, found = models_json_schema([(model, "validation") for model in _described], ref_template=REFERENCE)
    return dict(found["$defs"])
