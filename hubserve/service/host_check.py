"""The header Host: which names the server answers for.

A page on another site can make a browser send requests to a server that only this machine, or only this network, can reach:
the page's own name is resolved to the server's address once the page is loaded (DNS rebinding). Such a request has that name in
Host, never an address, so addresses need no list.
"""

import ipaddress
from functools import lru_cache

from starlette.requests import HTTPConnection

from hubserve.errors import HostError


class HostCheck:
    """Checks the hosts of requests.

    Args:
        allowed: Names separated by commas, as in the setting `allowed_hosts`.
    """

    def __init__(self, allowed: str | None) -> None:
        self._names = None if allowed is None else [name.strip().lower() for name in allowed.split(",") if name.strip()]
        self._allows = lru_cache(maxsize=64)(self._decide)

    def check(self, connection: HTTPConnection) -> None:
        """Raises HostError where the request names a host that is not allowed. A request without one comes from no browser."""
        server = connection.scope.get("server")
        for name, value in connection.scope["headers"]:
            if name == b"host" and not self._allows(value[:300], server[0] if server else None):
                host = _host(value[:300])
                raise HostError(
                    f"this server does not answer for the host {host[:100]!r}: the setting HUBSERVE_ALLOWED_HOSTS lists the "
                    "names that it answers for, besides addresses and localhost"
                )

    def _decide(self, given: bytes, local_address: str | None) -> bool:
        host = _host(given)
        if _is_address(host) or host == "localhost" or host.endswith(".localhost"):
            return True
        if self._names is None:
            return local_address is None or not _is_loopback(local_address)
        return any(_fits(host, name) for name in self._names)


def _host(given: bytes) -> str:
    """Returns the host of a Host header, in lower case and without its port."""
    text = given.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def _fits(host: str, name: str) -> bool:
    if name == "*":
        return True
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_loopback or (mapped is not None and mapped.is_loopback)
