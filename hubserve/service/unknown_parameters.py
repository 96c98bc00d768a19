"""Refuses requests with unknown, doubled or wrong parameters, so that a misspelled one is not silently ignored."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from hubserve.similar_names import suggest

Parameters = TypeVar("Parameters", bound=BaseModel)
"""The class of the parameters of a route."""


def only_parameters(*known: str) -> Callable[[Request], Awaitable[None]]:
    """Returns a FastAPI dependency that refuses requests with a query parameter that is not in `known`, with 422."""

    async def check(request: Request) -> None:
        check_names(request.query_params.keys(), known, place="query")

    return check


def check_names(given: Iterable[str], known: Collection[str], *, place: str) -> None:
    """Checks that all names in a request are known.

    Args:
        given: Names of query parameters, form fields or JSON keys of the request.
        known: Names that the route accepts.
        place: "query" or "form", or "body" for JSON; for the error message.

    Raises:
        RequestValidationError: A name is unknown; the request is answered with 422.
    """
    for name in given:
        if name not in known:
            message = f"unknown in the {place}. {suggest(name[:40], known)}"
            raise RequestValidationError([{"loc": (place, name[:40]), "msg": message, "type": "unknown"}])


def check_not_twice(given: Iterable[str], query: Collection[str]) -> None:
    """Checks that no parameter in the body of a request is in its query, too.

    Args:
        given: Names of the parameters in the body.
        query: Names of the parameters in the query.

    Raises:
        RequestValidationError: A name is in both; the request is answered with 422.
    """
    for name in given:
        if name in query:
            raise RequestValidationError([{"loc": ("body", name), "msg": "given in the query, too", "type": "twice"}])


def validated(model: type[Parameters], given: Mapping[str, object]) -> Parameters:
    """Returns the parameters of a request as an instance of `model`.

    Raises:
        RequestValidationError: A value is wrong; the request is answered with 422.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
