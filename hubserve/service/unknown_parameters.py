"""Refuses query parameters and form fields that a route does not have: ignored, a misspelled one would go unnoticed."""

from collections.abc import Awaitable, Callable, Collection, Iterable

from fastapi import Request
from fastapi.exceptions import RequestValidationError

from hubserve.errors import suggest


def only_parameters(*known: str) -> Callable[[Request], Awaitable[None]]:
    """A dependency, for FastAPI, of routes whose query may have the parameters `known` and no others."""

    async def check(request: Request) -> None:
        check_names(request.query_params.keys(), known, place="query")

    return check


def check_names(given: Iterable[str], known: Collection[str], *, place: str) -> None:
    """Raises RequestValidationError, which is answered with 422, for the first name that is not in `known`.

    Args:
        given: Names in the request.
        known: Names that the route has.
        place: "query" or "form".
    """
    for name in given:
        if name not in known:
            message = f"unknown in the {place}. {suggest(name[:40], known)}"
            raise RequestValidationError([{"loc": (place, name[:40]), "msg": message, "type": "unknown"}])
