"""Checks that need torch, made by `hubserve.workers.check` in a process of its own: a job's names, an export's arch."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from anyio import to_thread

from hubserve import errors
from hubserve.errors import HubserveError, OverloadedError
from hubserve.jobs import Job
from hubserve.service.exports import ExportRequest

log = logging.getLogger("hubserve.service")

WORKER = "hubserve.workers.check"
SECONDS = 60.0
"""How long a check may take. It takes a few seconds, for the import of torch."""


class DefinitionChecker:
    """Runs one check at a time, outside the event loop."""

    def __init__(self) -> None:
        self._running = asyncio.Lock()

    async def check_job(self, job: Job) -> None:
        """Checks that the space, the strategies, the data set's name and the rest of a job exist and go together.

        Raises:
            JobError: They do not; the message names the key.
            OverloadedError: The check did not end in time.
        """
        await self._check({"job": job.model_dump(mode="json", exclude_unset=True)})

    async def check_export(self, request: ExportRequest) -> None:
        """Checks the space, the settings and the arch of a request that names a space.

        Raises:
            SpaceError: There is no such space, or it does not take these settings.
            ArchError: The arch is not one of the space.
            OverloadedError: The check did not end in time.
        """
        await self._check({"space": request.space, "settings": request.settings, "arch": request.arch})

    async def _check(self, request: Mapping[str, Any]) -> None:
        async with self._running:
            answer = await to_thread.run_sync(_ask_worker, json.dumps(request))
        if answer:
            kind: type[HubserveError] = getattr(errors, answer["type"], HubserveError)
            raise kind(answer["message"])


def _ask_worker(request: str) -> dict[str, str]:
    command = [sys.executable, "-m", WORKER]
    try:
        ended = subprocess.run(command, input=request, capture_output=True, text=True, timeout=SECONDS)
        answer: dict[str, str] = json.loads(ended.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise OverloadedError(f"the request was not checked within {SECONDS:g} s; ask again later") from error
    except (OSError, ValueError, IndexError) as error:
        log.error("a check failed: %s", ended.stderr[-2000:] if isinstance(error, ValueError | IndexError) else error)
        raise HubserveError("the process that checks requests failed; the server's log says why") from error
    return answer
