"""Every route is asked what its description allows, and what it does not: no answer is a fault of the server."""

from __future__ import annotations

import json
import re

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from hubserve import __version__, store
from hubserve.service.api import build_api
from hubserve.service.middleware import BENTOML
from hubserve.service.openapi_document import OPEN_PATHS, openapi_document
from tests.stores import service_over, small_package, store_at

TOKEN = "secret-of-the-tests"
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
"""What each answer is checked for: no fault, and a status, a content type and a body that the description has."""

STARTS_PROCESSES = ("/exports", "/jobs", "/search_jobs")
"""Asked without a token here, since their checks take seconds; test_any_request.py asks them with one."""


@schemathesis.serializer("application/zip")
def zip_file(context, value) -> bytes:
    """Any bytes are a body of the route that takes archives; what archives may hold is tested elsewhere."""
    return value if isinstance(value, bytes) else str(value).encode()


document = openapi_document(build_api())
ours = {path: operations for path, operations in document["paths"].items() if path not in BENTOML}
schema = schemathesis.openapi.from_dict({**document, "paths": ours, "servers": [{"url": "/"}]})


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
    answer = case.call(base_url=url, headers=headers, timeout=120)
    case.validate_response(answer, checks=CHECKS)


def test_valid_as_openapi_3_1():
    assert document["openapi"] == "3.1.0"
    assert (document["info"]["title"], document["info"]["version"]) == ("hubserve", __version__)
    assert not list(OpenAPIV31SpecValidator(document).iter_errors())


def test_sent_as_it_is(url):
    assert httpx2.get(f"{url}/docs.json").json() == document


def test_each_reference_has_a_schema():
    text = json.dumps(document)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names == set(document["components"]["schemas"])
    assert "ValidationError" not in names


def test_what_the_description_has():
    paths = document["paths"]
    assert {
        "/classify",
        "/classify-text",
        "/embed",
        "/models",
        "/v2/models/{name}/infer",
        "/aliases/{name}",
        "/exports",
        "/jobs",
        "/jobs/data",
        "/search_jobs",
        *BENTOML,
    } <= set(paths)
    reading = ("/classify", "/classify-text", "/embed", "/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
    identities = []
    for path, methods in paths.items():
        for method, operation in methods.items():
            where = (path, method)
            identities.append(operation["operationId"])
            statuses = set(operation["responses"])
            assert {"400", "408", "413", "415", "422", "431", "500", "503"} <= statuses, where
            assert ("401" in statuses) == (path not in OPEN_PATHS), where
            if method in ("post", "put", "delete") and path not in (*reading, "/v2/repository/index"):
                assert {"401", "403"} <= statuses, where
            for parameter in operation.get("parameters", ()):
                assert parameter["in"] != "path" or parameter["schema"]["type"] == "string", where
    assert len(set(identities)) == len(identities)
