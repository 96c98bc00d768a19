"""Refuses requests with unknown query parameters or form fields, so that a misspelled one is not silently ignored."""

from collections.abc import Awaitable, Callable, Collection, Iterable

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from hubserve.error_messages import suggest


def only_parameters(*known: str) -> Callable[[Request], Awaitable[None]]:
    """Returns a FastAPI dependency that refuses requests with a query parameter that is not in `known`, with 422."""

    async def check(request: Request) -> None:
        check_names(request.query_params.keys(), known, place="query")

    return check


def check_names(given: Iterable[str], known: Collection[str], *, place: str) -> None:
    """Checks that all names in a request are known.

    Args:
        given: Names of the query parameters or form fields of the request.
        known: Names that the route accepts.
        place: "query" or "form", for the error message.

    Raises:
        RequestValidationError: A name is unknown; the request is answered with 422.
    """
    for name in given:
        if name not in known:
            message = f"unknown in the {place}. {suggest(name[:40], known)}"
            raise RequestValidationError([{"loc": (place, name[:40]), "msg": message, "type": "unknown"}])
