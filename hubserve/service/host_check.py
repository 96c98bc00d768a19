"""`HostCheck`: refuses requests whose header Host has a name that the server does not answer for.

This prevents DNS rebinding. A page of another site can make a browser send requests to a server that only this machine or this
network can reach, by resolving the page's own name to the server's address. Such a request has that name in Host and never an
address, so that addresses can always be allowed.
"""

import ipaddress
from functools import lru_cache

from starlette.requests import HTTPConnection

from hubserve.errors import HostError


class HostCheck:
    """Checks the header Host of requests.

    Args:
        allowed: Allowed names, separated by commas; "*.example.com" means all names below example.com, "*" all names. IP
            addresses, localhost and names below it are always allowed. None allows only these on connections to a loopback
            address, and all names on others.
    """

    def __init__(self, allowed: str | None) -> None:
        self._names = None if allowed is None else [name.strip().lower() for name in allowed.split(",") if name.strip()]
        self._allows = lru_cache(maxsize=64)(self._decide)

    def check(self, connection: HTTPConnection) -> None:
        """Checks the header Host of a request. A request without that header passes: browsers always send it.

        Raises:
            HostError: The header has a name that is not allowed.
        """
        server = connection.scope.get("server")
        for name, value in connection.scope["headers"]:
            if name == b"host" and not self._allows(value[:300], server[0] if server else None):
                host = _host(value[:300])
                raise HostError(
                    f"this server does not answer for the host {host[:100]!r}: the setting HUBSERVE_ALLOWED_HOSTS lists the "
                    "names that it answers for, besides addresses and localhost"
                )

    def _decide(self, given: bytes, local_address: str | None) -> bool:
        """Returns whether a host is allowed.

        Args:
            given: Value of the header Host.
            local_address: Address of the server at which the request arrived; None, if it is unknown, counts as no loopback
                address.
        """
        host = _host(given)
        if _is_address(host) or host == "localhost" or host.endswith(".localhost"):
            return True
        if self._names is None:
            return local_address is None or not _is_loopback(local_address)
        return any(_fits(host, name) for name in self._names)


def _host(given: bytes) -> str:
    """Returns the host of a Host header in lower case, without its port and without brackets around an IPv6 address."""
    text = given.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def _fits(host: str, name: str) -> bool:
    """Returns whether an entry of the list of allowed names allows a host.

    "*" allows every host, "*.example.com" every host below example.com but not example.com itself, and any other entry only the
    host that is equal to it.

    Args:
        host: Host of a request in lower case, without its port.
        name: The entry, in lower case.
    """
    if name == "*":
        return True
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _is_address(host: str) -> bool:
    """Returns whether a host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(address: str) -> bool:
    """Returns whether an address is a loopback address of IPv4 or IPv6; False for text that is not an address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_loopback or (mapped is not None and mapped.is_loopback)
