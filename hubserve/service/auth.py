"""Who may do what: bearer tokens, compared in constant time.

Reading and classifying is open unless HUBSERVE_READ_TOKEN is set; what changes something always wants HUBSERVE_TOKEN, which
opens the rest too.
"""

from __future__ import annotations

import secrets

from fastapi import Request
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from hubserve.errors import ForbiddenError, UnauthorizedError
from hubserve.service.settings import ServiceSettings

scheme = HTTPBearer(auto_error=False, description="HUBSERVE_TOKEN, or for reading HUBSERVE_READ_TOKEN, of the server.")
"""For the API's description."""


def check_reader(connection: HTTPConnection, settings: ServiceSettings) -> None:
    """Raises UnauthorizedError where reading wants a token and the request does not bear it, or the one for changes."""
    if settings.read_token is not None and not _bears(connection, settings.read_token, settings.token):
        raise UnauthorizedError("this server wants a token: send the header `Authorization: Bearer TOKEN`")


def check_changer(connection: HTTPConnection, settings: ServiceSettings) -> None:
    """For requests that change something.

    Raises:
        ForbiddenError: the server has no token.
        UnauthorizedError: the request does not bear it.
    """
    if settings.token is None:
        raise ForbiddenError(
            "this server takes no changes: start it with a secret of at least 8 characters in HUBSERVE_TOKEN, and send the "
            "header `Authorization: Bearer $HUBSERVE_TOKEN`"
        )
    if not _bears(connection, settings.token):
        raise UnauthorizedError("changes want a token: send the header `Authorization: Bearer $HUBSERVE_TOKEN`")


async def changer(request: Request) -> None:
    """FastAPI's dependency of routes that change something."""
    check_changer(request, request.app.state.shared.settings)


def _bears(connection: HTTPConnection, *tokens: SecretStr | None) -> bool:
    kind, _, given = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        return False
    # All are compared, and as bytes: neither the time nor a letter that ASCII lacks tells anything.
    matches = [secrets.compare_digest(given.strip().encode(), t.get_secret_value().encode()) for t in tokens if t is not None]
    return any(matches)
