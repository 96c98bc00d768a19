"""Checks the bearer tokens of requests: `check_reader` for requests that read, `check_changer` for those that change something.

Reading and classifying need a token only if HUBSERVE_READ_TOKEN is set. Requests that change something always need
HUBSERVE_TOKEN, which is also accepted for reading. Tokens are compared in constant time.
"""

import secrets

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from hubserve.errors import ForbiddenError, UnauthorizedError
from hubserve.service.settings import ServiceSettings

scheme = HTTPBearer(auto_error=False, description="HUBSERVE_TOKEN, or for reading HUBSERVE_READ_TOKEN, of the server.")
"""The security scheme by which FastAPI describes the bearer tokens in the OpenAPI document."""


def check_reader(connection: HTTPConnection, settings: ServiceSettings) -> None:
    """Checks the token of a request that reads or classifies. Without the setting `read_token`, each request passes.

    Raises:
        UnauthorizedError: The request has neither the token for reading nor the one for changes.
    """
    if settings.read_token is not None and not _bears(connection, settings.read_token, settings.token):
        raise UnauthorizedError("this server wants a token: send the header `Authorization: Bearer TOKEN`")


def check_changer(connection: HTTPConnection, settings: ServiceSettings) -> None:
    """Checks the token of a request that changes something.

    Raises:
        ForbiddenError: The setting `token` is not set, so that the server refuses all changes.
        UnauthorizedError: The request does not have the token for changes.
    """
    if settings.token is None:
        raise ForbiddenError(
            "this server takes no changes: start it with a secret of at least 8 characters in HUBSERVE_TOKEN, and send the "
            "header `Authorization: Bearer $HUBSERVE_TOKEN`"
        )
    if not _bears(connection, settings.token):
        raise UnauthorizedError("changes want a token: send the header `Authorization: Bearer $HUBSERVE_TOKEN`")


async def changer(request: Request) -> None:
    """Checks the token of a request that changes something, as a FastAPI dependency. The middleware has made the same check.

    Raises:
        ForbiddenError: The setting `token` is not set, so that the server refuses all changes.
        UnauthorizedError: The request does not have the token for changes.
    """
    check_changer(request, request.app.state.shared.settings)


CHANGE = [Depends(changer), Depends(scheme)]
"""The FastAPI dependencies of routes that change something."""


def _bears(connection: HTTPConnection, *tokens: SecretStr | None) -> bool:
    """Returns whether the header Authorization of a request has one of `tokens`; None entries are ignored."""
    kind, _, given = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        return False
    # Every token is compared, so that the time reveals nothing; as bytes, for compare_digest takes ASCII texts only.
    matches = [secrets.compare_digest(given.strip().encode(), t.get_secret_value().encode()) for t in tokens if t is not None]
    return any(matches)
