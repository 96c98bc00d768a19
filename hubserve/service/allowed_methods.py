"""`allowed_methods`: the HTTP methods that a path has, by all its routes together."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match

METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
"""Methods that a route of the service may have."""


def allowed_methods(routes: Iterable[BaseRoute], path: str) -> list[str]:
    """Returns the methods of all routes that match a path, sorted. HEAD is among them where GET is: it is answered as GET.

    Args:
        routes: Routes of an application.
        path: Path of a request.
    """
    known = tuple(routes)
    found = {method for method in METHODS if any(_matches(route, path, method) for route in known)}
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


def _matches(route: BaseRoute, path: str, method: str) -> bool:
    scope = {"type": "http", "path": path, "root_path": "", "method": method, "headers": []}
    return route.matches(scope)[0] is Match.FULL
