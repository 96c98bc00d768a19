"""The first mistake that pydantic found, as a sentence."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from hubserve.validation_sentence import first_mistake


class Inner(BaseModel):
    sizes: list[int]


class Outer(BaseModel):
    inner: Inner


def refused(given: object, kind: object = Outer) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(given)
    return caught.value


def test_it_names_the_key_and_on_request_the_value():
    error = refused({"inner": {"sizes": [1, "x"]}})
    said = "Input should be a valid integer, unable to parse string as an integer"
    assert first_mistake(error) == f"inner.sizes.1: {said}"
    assert first_mistake(error, show_value=True) == f"inner.sizes.1 = 'x': {said}"


def test_of_the_whole():
    error = refused("x", int)
    assert first_mistake(error).startswith("Input should be")
    assert first_mistake(error, whole="the body").startswith("the body: Input should be")


def test_what_somebody_else_wrote_is_cut():
    error = refused({"a" * 10**6: "b" * 10**6}, dict[str, int])
    assert len(first_mistake(error, show_value=True)) < 400
