"""`LocalCards`: the pre-searched models whose weights are on this machine, found by a process of its own.

To look for weights needs code that imports torch, which the server's process does not load.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time

from hubserve.background import TOKEN_VARIABLES

log = logging.getLogger("hubserve.service")

WORKER = "hubserve.workers.local_weights"

SECONDS = 120.0
"""Time limit of the process, in seconds; usually it takes a few seconds."""

FRESH_SECONDS = 60.0
"""Time in seconds for which its answer, or its failure, is kept."""


class LocalCards:
    """Names the pre-searched models whose weights are on this machine."""

    def __init__(self) -> None:
        self._looking = threading.Lock()
        self._names: list[str] = []
        self._looked: float | None = None

    def names(self) -> list[str]:
        """Returns their names, sorted; waits for the process if the last answer is older than `FRESH_SECONDS`.

        If the process fails, the names of its last answer are returned, and the log has the reason.
        """
        with self._looking:
            if self._looked is None or time.monotonic() - self._looked > FRESH_SECONDS:
                self._look()
                self._looked = time.monotonic()
            return self._names

    def _look(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES}
        command = [sys.executable, "-m", WORKER]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, env=environment, check=True)
            self._names = list(map(str, json.loads(ended.stdout)))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            log.warning("cannot look for weights: %s %s", error, getattr(error, "stderr", None) or "")
