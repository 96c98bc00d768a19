"""`api`, the FastAPI application with all routes, and the creation of the state that they share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from fastapi.routing import APIRoute

from hubserve import __version__
from hubserve.errors import HubserveError, MissingExtraError, ServerStartError
from hubserve.service.error_responses import HANDLERS
from hubserve.service.outgoing_text import ClientJSONResponse
from hubserve.service.page import router as page_router
from hubserve.service.routes import (
    aliases,
    classify,
    classify_text,
    description,
    embed,
    exports,
    in_browser,
    job_data,
    jobs,
    models,
    v2,
)
from hubserve.service.service_state import ServiceState
from hubserve.service.settings import ServiceSettings
from hubserve.service.swagger import router as swagger_router

ROUTERS = (
    in_browser.router,  # Its page must come before the page's files, whose path is more general.
    page_router,
    swagger_router,
    description.router,
    classify.router,
    classify_text.router,
    embed.router,
    models.router,
    v2.router,
    aliases.router,
    exports.router,
)
"""Routers of all routes, except those of jobs."""

JOB_ROUTERS = (job_data.router, jobs.router)
"""Routers of the routes below /jobs. The first one has the more specific paths, so it must come first."""


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Async context manager that creates the state that all routes share, and serves gRPC if it is set; its end closes both.

    The message of an error at the start is kept as `app.state.start_error`, and the error is raised.

    Raises:
        pydantic.ValidationError: A setting in the environment is not allowed; only this error is not kept.
        HubserveError, OSError: The state cannot be created, or gRPC cannot be served.
    """
    try:
        shared = await to_thread.run_sync(ServiceState, ServiceSettings.from_environment())
    except (HubserveError, OSError) as error:
        app.state.start_error = f"{type(error).__name__}: {error}"
        raise
    app.state.shared = shared
    shared.shutdown.install(asyncio.get_running_loop())
    async with _grpc_server(app, shared):
        yield
    await to_thread.run_sync(shared.close)


@asynccontextmanager
async def _grpc_server(app: FastAPI, shared: ServiceState) -> AsyncIterator[None]:
    """Async context manager that serves gRPC during its block; does nothing if the setting `grpc_port` is None.

    At the end of the block, calls that are being answered have `answer_seconds` to end. If gRPC cannot be served, `shared` is
    closed and the message is kept as `app.state.start_error`.

    Raises:
        MissingExtraError: The extra `grpc` is not installed.
        ServerStartError: The address cannot be bound.
    """
    if shared.settings.grpc_port is None:
        yield
        return
    try:
        from hubserve.service.grpc.server import serve_grpc
    except ImportError as error:
        app.state.start_error = "HUBSERVE_GRPC_PORT needs gRPC: pip install 'hubserve[grpc]', or unset HUBSERVE_GRPC_PORT"
        await to_thread.run_sync(shared.close)
        raise MissingExtraError(app.state.start_error) from error
    try:
        server = await serve_grpc(shared)
    except ServerStartError as error:
        app.state.start_error = str(error)
        await to_thread.run_sync(shared.close)
        raise
    try:
        yield
    finally:
        await server.stop(shared.settings.answer_seconds)


def _operation_id(route: APIRoute) -> str:
    """Returns the id of a route in the OpenAPI document, after which generated clients name their functions."""
    return route.name


def _old_operation_id(route: APIRoute) -> str:
    """Returns the id of a route below /search_jobs."""
    return f"search_jobs_{route.name}"


def build_api() -> FastAPI:
    """Returns an application with all routes. Their shared state is created from the environment at its start."""
    built = FastAPI(
        title="hubserve",
        version=__version__,
        lifespan=_lifespan,
        openapi_url=None,  # /docs.json and /docs are routes of our own.
        exception_handlers=HANDLERS,
        default_response_class=ClientJSONResponse,
        generate_unique_id_function=_operation_id,
    )
    for router in ROUTERS:
        built.include_router(router)
    for router in JOB_ROUTERS:
        built.include_router(router, prefix="/jobs")
        # The name until version 0.2.
        built.include_router(router, prefix="/search_jobs", deprecated=True, generate_unique_id_function=_old_operation_id)
    return built


api = build_api()
"""The application that the server runs."""
