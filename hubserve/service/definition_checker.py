"""`DefinitionChecker`: checks a job or an export before it starts, as far as that needs torch, in another process.

The process is `python -m hubserve.workers.check`.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from anyio import to_thread

from hubserve import errors
from hubserve.background import TOKEN_VARIABLES
from hubserve.errors import HubserveError, JobError, OverloadedError
from hubserve.jobs import Job, JobLimits
from hubserve.process_guard import confine_memory
from hubserve.service.export_folder import ExportLimits, ExportRequest

log = logging.getLogger("hubserve.service")

WORKER = "hubserve.workers.check"
SECONDS = 60.0
"""Time limit of a check in seconds. A check usually takes a few seconds, most of them for importing torch."""

MEMORY_MB = 2_000.0
"""Largest memory of a check in megabytes, on any machine: the libraries reserve half of it while they are imported."""


class DefinitionChecker:
    """Runs checks one after another in processes of limited time and memory, without blocking the event loop."""

    def __init__(self) -> None:
        self._running = asyncio.Lock()

    async def check_job(self, job: Job, limits: JobLimits) -> None:
        """Checks that the names in a job exist, such as its space, strategy and data set, and that its parts fit together.

        Raises:
            JobError: They do not, a limit is exceeded, or the check takes too much memory. The message names the key.
            OverloadedError: The check did not end in time.
            HubserveError: The process that checks failed; the server's log says why.
        """
        given = job.model_dump(mode="json", exclude_unset=True)
        await self._check({"job": given, "limits": limits.model_dump(mode="json", exclude_none=True)})

    async def check_export(self, request: ExportRequest, limits: ExportLimits) -> None:
        """Checks the space, the settings and the arch of a request that names a space.

        Raises:
            SpaceError: There is no such space, it does not accept the settings, or the network is too large.
            ArchError: The arch does not belong to the space.
            JobError: The network cannot be built, or the check takes too much memory.
            OverloadedError: The check did not end in time.
            HubserveError: The process that checks failed; the server's log says why.
        """
        await self._check(
            {"space": request.space, "settings": request.settings, "arch": request.arch, "limits": limits.model_dump()}
        )

    async def _check(self, request: Mapping[str, Any]) -> None:
        """Waits for the check before this one, runs this one, and raises the error that it found."""
        async with self._running:
            answer = await to_thread.run_sync(_ask_worker, json.dumps(request))
        if answer:
            kind: type[HubserveError] = getattr(errors, answer["type"], HubserveError)
            raise kind(answer["message"])


def _ask_worker(request: str) -> dict[str, str]:
    """Runs the process that checks and returns its answer: the "type" and "message" of an error, or an empty dict.

    Args:
        request: What to check, as JSON.

    Raises:
        JobError: The check takes too much memory.
        OverloadedError: The check did not end in time.
        HubserveError: The process failed.
    """
    command = [sys.executable, "-m", WORKER]
    pipe = subprocess.PIPE
    try:
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=_environment()) as worker:
            confine_memory(worker.pid, MEMORY_MB)
            try:
                said, wrong = worker.communicate(request, timeout=SECONDS)
            except BaseException:
                worker.kill()
                raise
        answer: dict[str, str] = json.loads(said.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise OverloadedError(f"the request was not checked within {SECONDS:g} s; ask again later, or for less") from error
    except OSError as error:
        log.error("a check failed: %s", error)
        raise HubserveError("the process that checks requests failed; the server's log says why") from error
    except (ValueError, IndexError) as error:
        if worker.returncode < 0 or "MemoryError" in wrong or "bad_alloc" in wrong:
            raise JobError(f"this takes more than {MEMORY_MB:,.0f} MB of memory to check; choose smaller settings") from error
        log.error("a check failed: %s", wrong[-2000:])
        raise HubserveError("the process that checks requests failed; the server's log says why") from error
    return answer


def _environment() -> dict[str, str]:
    """Returns the environment variables of this process without the tokens."""
    return {name: value for name, value in os.environ.items() if name not in TOKEN_VARIABLES}
