"""`serve_grpc`: starts the gRPC server beside HTTP, in the same event loop, with the bounds of `docs/security.md`."""

import os

import grpc

from hubserve.errors import ServerStartError
from hubserve.service.grpc.calls import InferenceCalls
from hubserve.service.service_state import ServiceState
from hubserve.service.settings import ServiceSettings
from hubserve.service.supervised_worker import METRICS_FOLDER

IDLE_MS = 300_000
"""Milliseconds after which a connection without calls is closed; clients open it again when they need it."""

MOST_STREAMS = 128
"""Largest number of calls at once over one connection; a client lets further ones wait."""

IDENTITY_ONLY = 1
"""Bit set of the compressions that are accepted: none, since a small message may become a huge one."""

SPARE_BYTES = 100_000
"""Bytes of a message beside its tensors."""


async def serve_grpc(shared: ServiceState) -> grpc.aio.Server:
    """Starts the server at the settings' `grpc_host` and `grpc_port`, and returns it.

    Args:
        shared: State that all requests share, those over HTTP too.

    Raises:
        ServerStartError: The address cannot be bound.
    """
    settings = shared.settings
    server = grpc.aio.server(options=_options(settings), maximum_concurrent_rpcs=settings.max_connections)
    server.add_generic_rpc_handlers((InferenceCalls(shared),))
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    try:
        server.add_insecure_port(f"{host}:{settings.grpc_port}")
    except RuntimeError as error:
        raise ServerStartError(
            f"cannot listen at {settings.grpc_host}, port {settings.grpc_port} (HUBSERVE_GRPC_PORT): the port is in use, or "
            "this machine has no such address"
        ) from error
    await server.start()
    return server


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    """Returns the options of gRPC, https://grpc.github.io/grpc/core/group__grpc__arg__keys.html."""
    body, head = int(settings.max_body_mb * 1e6) + SPARE_BYTES, int(settings.max_header_kb * 1e3)
    return [
        ("grpc.max_receive_message_length", body),
        ("grpc.max_send_message_length", body),
        ("grpc.max_metadata_size", head),
        ("grpc.absolute_max_metadata_size", head),
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.server_handshake_timeout_ms", int(settings.body_seconds * 1e3)),
        ("grpc.compression_enabled_algorithms_bitset", IDENTITY_ONLY),
        # Without it the window of a stream stays at 64 kB: so much is kept of a message before it is asked for.
        ("grpc.http2.bdp_probe", 0),
        # Workers share the port, but nobody else may take it.
        ("grpc.so_reuseport", int(METRICS_FOLDER in os.environ)),
    ]
