"""The BentoML service, `HubServe`: `bentoml serve hubserve.service.app:HubServe`.

BentoML provides processes, health checks, metrics, the OpenAPI document and builds. Our routes are an ASGI application that is
mounted in it, with `hubserve.service.middleware` around everything. This answers 1.8 times as many requests as a typed endpoint
of BentoML with the same engine (`./scripts/bench serve`), and can refuse a body before all of it is received.

A bento serves the models in the store of its machine. The models that `models` in bentofile.yaml lists are part of the bento;
if the store of the machine lacks them, as in a new container, they are copied into it at start-up.
"""

import logging
from typing import Any

import bentoml
from _bentoml_sdk import Service
from bentoml._internal.utils.analytics import usage_stats
from bentoml.exceptions import BentoMLConfigException
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from hubserve import store
from hubserve.errors import HubserveError
from hubserve.service import http_protocol, supervised_worker
from hubserve.service.api import api
from hubserve.service.bentoml_description import bentoml_routes
from hubserve.service.error_responses import refuse, refuse_route
from hubserve.service.json_log import use_json_lines
from hubserve.service.middleware import AnsweredErrors, ServiceMiddleware
from hubserve.service.openapi_document import DESCRIPTION
from hubserve.service.settings import ServiceSettings, sentence

supervised_worker.prepare()
try:
    _settings = ServiceSettings.from_environment()
except ValidationError as _error:  # BentoML's commands print the message of this one, without a traceback.
    raise BentoMLConfigException(sentence(_error)) from _error

# `bentoml serve` has asked, and remembers, whether it may report usage, before `import hubserve` set the variable for that.
usage_stats.do_not_track.cache_clear()

_log = logging.getLogger("hubserve")
# No handler of our own: BentoML's, on the root logger of each process that serves, prints our records too.
_log.setLevel(logging.INFO)


class _ServiceWithMiddleware(Service[Any]):  # type: ignore[misc]
    """BentoML's service, with our middleware around its ASGI application, and our supervisor for its workers."""

    def inject_config(self) -> None:
        """Injects BentoML's configuration and, unless this process is a worker, installs our supervisor and the log format."""
        # Called by whatever serves, before it makes the supervisor: `hubserve serve`, `bentoml serve`, a container.
        super().inject_config()
        if not supervised_worker.is_worker():
            from hubserve.service import supervisor  # A worker has no use for circus.

            supervisor.install()
            if _settings.log == "json":
                use_json_lines()

    def schema(self) -> dict[str, Any]:
        """Returns the description of the service for BentoML's own client, with our routes as methods."""
        return {**super().schema(), "description": DESCRIPTION, "routes": bentoml_routes()}

    def to_asgi(self, is_main: bool = True) -> Any:
        """Returns the ASGI application that a worker runs, after copying the models of the bento into the store.

        It also sets the format of the log and makes uvicorn use `hubserve.service.http_protocol`, for the whole process.

        Args:
            is_main: Passed on to BentoML.

        Raises:
            SystemExit: A model of the bento cannot be copied.
        """
        # Called in the process that serves, after it has loaded its bento.
        try:
            for tag in store.unpack_bento():
                _log.info("%s came with the bento", tag)
        except (HubserveError, OSError) as error:
            raise SystemExit(
                f"hubserve cannot start: the models of the bento cannot be copied into the store: {error}"
            ) from error
        if _settings.log == "json":
            use_json_lines()
        http_protocol.install(_settings)
        self.add_asgi_middleware(AnsweredErrors)
        bentoml_app = super().to_asgi(is_main)
        # For a wrong method, and for exceptions of BentoML's layers themselves; its own answers are plain text.
        bentoml_app.add_exception_handler(HTTPException, refuse_route)
        bentoml_app.add_exception_handler(Exception, refuse)
        return ServiceMiddleware(api, bentoml_app)


@bentoml.service(
    name="hubserve",
    workers=1,
    # Bodies and answers have limits of our own, which end first; BentoML's has an effect on its own routes only.
    traffic={"timeout": _settings.body_seconds + _settings.answer_seconds + 10},
    # The middleware writes one line for each request; BentoML's would have the path with its line breaks and escape codes.
    logging={"access": {"enabled": False}},
    # Requests do not pass BentoML's tracing; hubserve.service.tracing has spans of our own.
    tracing={"sample_rate": 0.0},
    service_class=_ServiceWithMiddleware,
)
@bentoml.asgi_app(api, path="/")
class HubServe:
    """Serves the models of the store over HTTP; its routes are those of `api`, and BentoML's for health and metrics."""
