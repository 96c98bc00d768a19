"""Bearer tokens: which requests need one; tokens are compared in constant time.

Reading and classifying need a token only if HUBSERVE_READ_TOKEN is set. Requests that change something always need
HUBSERVE_TOKEN, which is accepted for reading too.
"""

import secrets

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.requests import HTTPConnection

from hubserve.errors import ForbiddenError, UnauthorizedError
from hubserve.service.settings import ServiceSettings

scheme = HTTPBearer(auto_error=False, description="HUBSERVE_TOKEN, or for reading HUBSERVE_READ_TOKEN, of the server.")
"""The security scheme by which FastAPI lists the bearer tokens in the OpenAPI document."""


def check_reader(connection: HTTPConnection, settings: ServiceSettings) -> None:
    """Raises UnauthorizedError where reading needs a token and the request has neither that one nor the one for changes."""
    if settings.read_token is not None and not _bears(connection, settings.read_token, settings.token):
        raise UnauthorizedError("this server wants a token: send the header `Authorization: Bearer TOKEN`")


def check_changer(connection: HTTPConnection, settings: ServiceSettings) -> None:
    """Checks the token of a request that changes something.

    Raises:
        ForbiddenError: The server has no token, so it takes no changes.
        UnauthorizedError: The request does not have the token.
    """
    if settings.token is None:
        raise ForbiddenError(
            "this server takes no changes: start it with a secret of at least 8 characters in HUBSERVE_TOKEN, and send the "
            "header `Authorization: Bearer $HUBSERVE_TOKEN`"
        )
    if not _bears(connection, settings.token):
        raise UnauthorizedError("changes want a token: send the header `Authorization: Bearer $HUBSERVE_TOKEN`")


async def changer(request: Request) -> None:
    """A dependency, for FastAPI, of routes that change something: `check_changer` once more, behind the middleware's."""
    check_changer(request, request.app.state.shared.settings)


CHANGE = [Depends(changer), Depends(scheme)]
"""The dependencies of routes that change something."""


def _bears(connection: HTTPConnection, *tokens: SecretStr | None) -> bool:
    kind, _, given = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        return False
    # Every token is compared, so that the time reveals nothing; as bytes, for compare_digest takes ASCII texts only.
    matches = [secrets.compare_digest(given.strip().encode(), t.get_secret_value().encode()) for t in tokens if t is not None]
    return any(matches)
