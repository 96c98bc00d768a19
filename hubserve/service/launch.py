"""Starts BentoML's server on our service."""

import os
import sys

SERVICE = "hubserve.service.app:HubServe"

MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20)}
"""Settings of glibc: memory of a large image goes back to the system at once, not to one of eight arenas for each core."""


def serve(*, host: str = "127.0.0.1", port: int = 3000, model: str | None = None) -> None:
    """Replaces this process by the server, so that signals reach it; does not return.

    Args:
        host: Address to bind; the default accepts connections from this machine only.
        port: TCP port to bind.
        model: Name, tag or alias that answers where a request names none; None takes the setting HUBSERVE_MODEL.
    """
    environment = {**os.environ, **({"HUBSERVE_MODEL": model} if model else {})}
    for name, value in MALLOC.items():
        environment.setdefault(name, value)
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--host", host, "--port", str(port)]
    os.execve(command[0], command, environment)
