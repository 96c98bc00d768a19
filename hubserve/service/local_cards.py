"""`LocalCards`: finds the pre-searched models whose weights are on this machine, by another process.

Looking for weights needs code that imports torch, which the server's process does not load.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import time

from anyio import to_thread

from hubserve.background import TOKEN_VARIABLES

log = logging.getLogger("hubserve.service")

WORKER = "hubserve.workers.local_weights"

SECONDS = 120.0
"""Time limit of the process in seconds. It usually takes a few seconds."""

FRESH_SECONDS = 60.0
"""Seconds for which the answer of the process is used before it is started again, also if it failed."""


class LocalCards:
    """Finds the pre-searched models whose weights are on this machine."""

    def __init__(self) -> None:
        self._looking = asyncio.Lock()
        self._names: list[str] = []
        self._looked: float | None = None

    async def names(self) -> list[str]:
        """Returns the names of the pre-searched models whose weights are on this machine, sorted.

        If the last answer of the process is older than `FRESH_SECONDS`, the process is started again and waited for. If it
        fails, the reason is logged and the names of the last answer are returned; at first there are none. Calls that wait for
        the same process take no thread each.
        """
        async with self._looking:
            if self._looked is None or time.monotonic() - self._looked > FRESH_SECONDS:
                await to_thread.run_sync(self._look)
                self._looked = time.monotonic()
            return self._names

    def _look(self) -> None:
        """Runs the process and keeps the names that it prints; if it fails, logs the reason."""
        environment = {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES}
        command = [sys.executable, "-m", WORKER]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=True)
            self._names = list(map(str, json.loads(ended.stdout)))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            log.warning("cannot look for weights: %s %s", error, getattr(error, "stderr", None) or "")
