"""Starts BentoML's server on our service."""

from __future__ import annotations

import os
import sys

SERVICE = "hubserve.service.app:HubServe"

MALLOC = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20)}
"""For glibc: what a large picture took goes back to the system at once, not to one of eight arenas for each core."""


def serve(*, host: str = "127.0.0.1", port: int = 3000, model: str | None = None) -> None:
    """Becomes the server's process, so that signals reach it. Does not return.

    Args:
        host: address to bind; loopback unless told otherwise.
        port: to bind.
        model: name or tag that answers where a request names none.
    """
    environment = {**os.environ, **({"HUBSERVE_MODEL": model} if model else {})}
    # Usage statistics of BentoML go to its makers; a server of ours talks to nobody but its callers.
    environment.setdefault("BENTOML_DO_NOT_TRACK", "True")
    for name, value in MALLOC.items():
        environment.setdefault(name, value)
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--host", host, "--port", str(port)]
    os.execve(command[0], command, environment)
