"""The BentoML service: `bentoml serve hubserve.service.app:HubServe`.

BentoML gives processes, health, metrics, OpenAPI and builds; the routes are a mounted ASGI application with a layer of ours
in front (see `front`): it answers 1.8 times as many requests as a typed endpoint around the same engine (`./scripts/bench
serve`), and can refuse a body while it is still coming. A built bento serves what the store of its machine holds; `models`
in bentofile.yaml lists what travels with it, and is copied into that store when the bento starts without it, as in a
container.
"""

from __future__ import annotations

import logging
from typing import Any

import bentoml
from _bentoml_sdk import Service

from hubserve import store
from hubserve.service.api import api
from hubserve.service.middleware import ServiceMiddleware
from hubserve.service.settings import ServiceSettings

_settings = ServiceSettings.from_environment()

_log = logging.getLogger("hubserve")
_log.setLevel(logging.INFO)
if not _log.handlers:
    _printer = logging.StreamHandler()
    _printer.setFormatter(logging.Formatter("%(asctime)s [%(levelname)s] [%(name)s] %(message)s"))
    _log.addHandler(_printer)


class _ServiceWithMiddleware(Service[Any]):  # type: ignore[misc]
    """BentoML's service whose application has ours in front of it."""

    def to_asgi(self, is_main: bool = True) -> Any:
        # Called in the process that serves, once it knows its bento.
        for tag in store.unpack_bento():
            _log.info("%s came with the bento", tag)
        return ServiceMiddleware(api, super().to_asgi(is_main), tracing=_settings.tracing)


@bentoml.service(
    name="hubserve",
    workers=1,
    # Bodies and answers have limits of their own. BentoML's counts with the setting `tracing` alone, and never before ours.
    traffic={"timeout": _settings.body_seconds + _settings.answer_seconds + 10},
    logging={"access": {"enabled": _settings.access_log}},
    tracing={"sample_rate": 1.0 if _settings.tracing else 0.0},
    service_class=_ServiceWithMiddleware,
)
@bentoml.asgi_app(api, path="/")
class HubServe:
    """Image classification with searched neural architectures."""
