"""`api`, the FastAPI application with all routes, and the creation of the state that they share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from hubserve import __version__
from hubserve.errors import HubserveError
from hubserve.service.error_responses import HANDLERS
from hubserve.service.outgoing_text import ClientJSONResponse
from hubserve.service.page import router as page_router
from hubserve.service.routes import aliases, classify, embed, exports, job_data, jobs, models, v2
from hubserve.service.service_state import ServiceState
from hubserve.service.settings import ServiceSettings

ROUTERS = (page_router, classify.router, embed.router, models.router, v2.router, aliases.router, exports.router)
"""Routers of all routes, except those of jobs."""

JOB_ROUTERS = (job_data.router, jobs.router)
"""Routers of the routes below /jobs. The first one has the more specific paths, so it must come first."""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Creates the state that all routes share when the application starts, and closes it when it ends."""
    try:
        shared = await to_thread.run_sync(ServiceState, ServiceSettings.from_environment())
    except (HubserveError, OSError) as error:
        app.state.start_error = f"{type(error).__name__}: {error}"
        raise
    app.state.shared = shared
    shared.shutdown.install(asyncio.get_running_loop())
    yield
    await to_thread.run_sync(shared.close)


def build_api() -> FastAPI:
    """Returns an application with all routes. Their shared state is created from the environment at its start."""
    built = FastAPI(
        title="hubserve",
        version=__version__,
        lifespan=_lifespan,
        openapi_url=None,  # Without it there are no pages of documentation either.
        exception_handlers=HANDLERS,
        default_response_class=ClientJSONResponse,
    )
    for router in ROUTERS:
        built.include_router(router)
    for router in JOB_ROUTERS:
        built.include_router(router, prefix="/jobs")
        built.include_router(router, prefix="/search_jobs", deprecated=True)  # The name until version 0.2.
    return built


api = build_api()
"""The application that the server runs."""
