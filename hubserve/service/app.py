"""The BentoML service: `bentoml serve hubserve.service.app:HubServe`.

BentoML gives health, metrics, OpenAPI, workers and builds; the routes are a mounted ASGI application, whose overhead is a third
of typed endpoints' and which can refuse a body while it is still coming. Tracing and the access log are off: together they cost
more than our own routes. A built bento serves what the store of its machine holds; `models` in bentofile.yaml lists what
travels with it.
"""

from __future__ import annotations

import bentoml

from hubserve.service.api import api


@bentoml.service(
    name="hubserve",
    workers=1,
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    tracing={"sample_rate": 0.0},
)
@bentoml.asgi_app(api, path="/")
class HubServe:
    """Image classification with searched neural architectures."""
