"""The first layer, over routes whose server is about to end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import httpx
import pytest

from hubserve.service.api import build_api
from hubserve.service.front import Front
from hubserve.service.settings import Settings

SAYS = "this server is about to end"


@pytest.mark.parametrize(("path", "error"), [("/readyz", {"type": "Draining", "message": SAYS}), ("/v2/health/ready", SAYS)])
def test_readiness_is_gone(path, error):
    api = build_api()
    api.state.shared = SimpleNamespace(drain=SimpleNamespace(started=True), settings=Settings())

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(Front(api)), base_url="http://test") as client:
            return await client.get(path)

    answer = asyncio.run(ask())
    assert answer.status_code == 503
    assert answer.json() == {"error": error}
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["connection"] == "close"
