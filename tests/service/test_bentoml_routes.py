"""Routes of BentoML's that fail are answered at once and in our JSON, whatever the settings."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.service.conftest import ROOT, environment

PROGRAM = """
import json, time
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from starlette.testclient import TestClient
from hubserve.service import app as ours

def broken(*_, **__):
    raise RuntimeError("a secret of the server")

ours.HubServe.inner.__is_alive__ = broken
application = ours.HubServe.to_asgi()
BentoMLContainer.metrics_client.get().generate_latest = broken
ours.api.get("/broken")(lambda: broken())
found = []
with TestClient(application, base_url="http://localhost", raise_server_exceptions=False) as client:
    def ask(method, path):
        begin = time.monotonic()
        answer = client.request(method, path)
        found.append((method, path, answer.status_code, answer.headers["content-type"], answer.text, time.monotonic() - begin))
    for path in ("/metrics", "/livez", "/healthz", "/broken"):
        ask("GET", path)
    for path in ("/metrics", "/livez", "/readyz", "/schema.json"):
        ask("POST", path)
    RunnerTrafficMetricsMiddleware.__call__ = broken
    ask("GET", "/metrics")
print(json.dumps(found))
"""


@pytest.mark.parametrize("log", ["text", "json"])
def test_each_is_answered_at_once(tmp_path, log):
    variables = {**environment(tmp_path), "HUBSERVE_LOG": log, "HUBSERVE_HOME": str(tmp_path / "hubserve")}
    ran = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran.stderr
    answers = json.loads(ran.stdout.splitlines()[-1])
    assert len(answers) == 9
    for method, path, status, kind, text, seconds in answers:
        where = f"{method} {path}: {status} {text}"
        assert seconds < 5, where
        assert kind == "application/json", where
        assert "a secret" not in text, where
        assert status in ({500} if method == "GET" else {404, 405, 503, 403}), where
        assert set(json.loads(text)["error"]) == {"type", "message"}, where
