"""A real server is asked, on every route, what its description allows and what it does not, with its token and without."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from hubserve import store
from hubserve.service.api import build_api
from hubserve.service.openapi_document import openapi_document
from tests.service.conftest import free_port, start, stop
from tests.service.test_openapi import CHECKS, TOKEN
from tests.stores import small_package, store_at

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("server")]

SEVERAL_SECONDS = frozenset({"start_export", "start_job", "search_jobs_start_job"})
"""Operations that check a request in a process of its own, which imports torch: they are asked fewer times with the token."""

document = openapi_document(build_api())
schema = schemathesis.openapi.from_dict({**document, "servers": [{"url": "/"}]})
slow_to_answer = schema.include(operation_id=sorted(SEVERAL_SECONDS))
quick_to_answer = schema.exclude(operation_id=sorted(SEVERAL_SECONDS))


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    """The address of a server with a model and a token for changes."""
    home, port = tmp_path_factory.mktemp("bentoml"), free_port()
    with store_at(home):
        store.publish(small_package().path, version="v1")
    address = f"http://127.0.0.1:{port}"
    more = {"HUBSERVE_TOKEN": TOKEN, "HUBSERVE_HOME": str(tmp_path_factory.mktemp("home"))}
    command = [sys.executable, "-m", "hubserve", "serve", "--port", str(port)]
    process = start(command, home, home / "server.log", address, more=more)
    try:
        yield address
    finally:
        stop(process)


@pytest.fixture(params=["with the token", "without a token"])
def headers(request) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"} if request.param == "with the token" else {}


@quick_to_answer.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_any_request(case, url, headers):
    case.validate_response(case.call(base_url=url, headers=headers, timeout=120), checks=CHECKS)


@slow_to_answer.parametrize()
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_any_export_or_job(case, url, headers):
    case.validate_response(case.call(base_url=url, headers=headers, timeout=120), checks=CHECKS)


def test_every_operation_is_asked():
    """Nothing is skipped: what is started is bounded by the server, and ends with it."""
    asked = [operation.ok().label for part in (quick_to_answer, slow_to_answer) for operation in part.get_all_operations()]
    assert sorted(asked) == sorted(f"{method.upper()} {path}" for path, found in document["paths"].items() for method in found)
