"""Starts BentoML's server on our service."""

import errno
import os
import socket
import tempfile
from typing import Any

from hubserve.errors import ServerStartError

SERVICE = "hubserve.service.app:HubServe"

MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20)}
"""Settings of glibc for the workers: memory of a large image goes back to the system at once, not to one of many arenas."""

REASONS = {
    errno.EADDRINUSE: "the port is in use: end what listens there, or name another one with --port",
    errno.EACCES: "this user may not listen there: ports below 1024 need a privilege; name a higher one with --port",
    errno.EADDRNOTAVAIL: "this machine has no such address: name one of its own with --host",
}


def find_address(host: str, port: int) -> str:
    """The numeric address of `host`, after a look whether the port can be bound.

    Raises:
        ServerStartError: `host` is no address of this machine, or the port cannot be bound.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ServerStartError(f"cannot listen at {host!r}: it is no address, and no name that can be resolved") from error
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            raise _cannot_listen(host, port, error) from error
    return str(address[0])


def serve(*, host: str = "127.0.0.1", port: int = 3000, model: str | None = None) -> None:
    """Serves until SIGTERM or SIGINT.

    Args:
        host: Numeric address to bind, as `find_address` gives it; the default accepts connections from this machine only.
        port: TCP port to bind.
        model: Name, tag or alias that answers where a request names none; None takes the setting HUBSERVE_MODEL.

    Raises:
        ServerStartError: BentoML cannot be started with this address or its configuration.
        SystemExit: No worker could be kept alive; the code is 1.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ServerStartError("no folder for temporary files can be written: name one that can be in TMPDIR") from error
    if model:
        os.environ["HUBSERVE_MODEL"] = model
    for name, value in MALLOC.items():
        os.environ.setdefault(name, value)
    from _bentoml_impl.server import serve_http
    from bentoml._internal.log import configure_server_logging
    from bentoml.exceptions import BentoMLException

    configure_server_logging()  # type: ignore[no-untyped-call] # First, for it disables the loggers that there are.
    from hubserve.service.app import HubServe

    service: Any = HubServe  # BentoML's decorator makes a service of the class.
    try:
        service.inject_config()
        serve_http(SERVICE, working_dir=".", host=host, port=port)
    except BentoMLException as error:
        raise ServerStartError(f"BentoML does not start: {error}") from error
    except OSError as error:
        raise _cannot_listen(host, port, error) from error


def _cannot_listen(host: str, port: int, error: OSError) -> ServerStartError:
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    return ServerStartError(f"cannot listen at {host}, port {port}: {reason}")
