"""`serve`: starts BentoML's server with the hubserve service, and `find_address`, which checks the address before."""

import errno
import importlib.util
import os
import socket
import tempfile
from typing import Any

from hubserve.errors import MissingExtraError, ServerStartError

SERVICE = "hubserve.service.app:HubServe"

MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20)}
"""Environment variables of glibc for the workers, so that the memory of large images is returned to the system at once."""

REASONS = {
    errno.EADDRINUSE: "the port is in use: end what listens there, or name another one with --port",
    errno.EACCES: "this user may not listen there: ports below 1024 need a privilege; name a higher one with --port",
    errno.EADDRNOTAVAIL: "this machine has no such address: name one of its own with --host",
}
"""What a user can do, by the error number with which listening fails."""


def find_address(host: str, port: int) -> str:
    """Returns the numeric address of `host`, after checking that its port can be bound. IPv4 is preferred.

    Raises:
        ServerStartError: `host` cannot be resolved or is not an address of this machine, or the port cannot be bound.
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


def check_grpc(host: str, port: int, grpc_port: int) -> None:
    """Checks that gRPC can be answered, and sets HUBSERVE_GRPC_HOST to the address of HTTP unless it is set.

    Args:
        host: Numeric address of HTTP.
        port: Port of HTTP.
        grpc_port: Port of gRPC.

    Raises:
        MissingExtraError: gRPC is not installed.
        ServerStartError: The port is that of HTTP, or cannot be bound.
    """
    if importlib.util.find_spec("grpc") is None or importlib.util.find_spec("google.protobuf") is None:
        raise MissingExtraError("a port for gRPC needs gRPC: pip install 'hubserve[grpc]'")
    if port == grpc_port:
        raise ServerStartError(f"HTTP and gRPC cannot share port {port}: name another one with --grpc-port")
    os.environ.setdefault("HUBSERVE_GRPC_HOST", host)
    find_address(os.environ["HUBSERVE_GRPC_HOST"], grpc_port)


def serve(*, host: str = "127.0.0.1", port: int = 3000, model: str | None = None) -> None:
    """Serves until SIGTERM or SIGINT.

    Sets the environment variables `MALLOC`, unless they are set, and HUBSERVE_MODEL, if `model` is given.

    Args:
        host: Numeric address to bind, from `find_address`. The default accepts connections from this machine only.
        port: TCP port to bind.
        model: Name, tag or alias that answers requests that name no model. None keeps the setting HUBSERVE_MODEL.

    Raises:
        ServerStartError: No folder for temporary files can be written, the address cannot be bound, or BentoML refuses its
            configuration.
        bentoml.exceptions.BentoMLConfigException: A setting of the service in the environment is not allowed; the command
            `hubserve serve` checks the settings before.
        SystemExit: No worker could be kept alive; the exit code is 1.
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
    """Returns the ServerStartError for an error that occurred while an address was bound."""
    reason = REASONS.get(error.errno or 0, error.strerror or str(error))
    return ServerStartError(f"cannot listen at {host}, port {port}: {reason}")
