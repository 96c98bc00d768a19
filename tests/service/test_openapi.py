"""Every route is asked what its description allows, and what it does not: no answer is a fault of the server."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from hubserve import store
from hubserve.service.api import build_api
from tests.stores import service_over, small_package, store_at

TOKEN = "secret-of-the-tests"
STARTS_PROCESSES = ("/exports", "/jobs", "/search_jobs")
"""Asked without a token: what these start is tested elsewhere."""


@schemathesis.serializer("application/zip")
def zip_file(context, value) -> bytes:
    """Any bytes are a body of the route that takes archives; what archives may hold is tested elsewhere."""
    return value if isinstance(value, bytes) else str(value).encode()


schema = schemathesis.openapi.from_dict(build_api().openapi())


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_TOKEN", TOKEN)
        with store_at(home):
            store.publish(small_package().path, version="v1")
        with service_over(home) as url:
            yield url


@schema.parametrize()
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request(case, url):
    headers = {} if case.path.startswith(STARTS_PROCESSES) else {"Authorization": f"Bearer {TOKEN}"}
    answer = case.call(base_url=url, headers=headers)
    case.validate_response(answer, checks=(not_a_server_error,))


def test_what_the_description_has():
    paths = build_api().openapi()["paths"]
    assert {
        "/classify",
        "/embed",
        "/models",
        "/v2/models/{name}/infer",
        "/aliases/{name}",
        "/exports",
        "/jobs",
        "/jobs/data",
        "/search_jobs",
    } <= set(paths)
    for path, methods in paths.items():
        for method, operation in methods.items():
            if method in ("post", "put", "delete") and path not in ("/classify", "/embed") and not path.startswith("/v2"):
                assert {"401", "403"} <= set(operation["responses"]), (path, method)
