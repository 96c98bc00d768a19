"""The page /docs: its files, and in a browser what it shows, whom it asks, and how it takes a token."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx2
import pytest

from hubserve.service import swagger
from tests.service.browser import CHROMIUM, FLAGS
from tests.service.conftest import ROOT
from tests.stores import service_over

READ = "a token to read"


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    """The address of a service that wants a token."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_READ_TOKEN", READ)
        with service_over(tmp_path_factory.mktemp("swagger")) as url:
            yield url


@pytest.mark.parametrize("name", ["", *swagger.PATHS])
def test_files(url, name):
    answer = httpx2.get(f"{url}/docs/{name}".rstrip("/"))
    assert answer.status_code == 200
    policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert httpx2.get(str(answer.url), headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_no_other_file(url):
    for name in ("index.html", "__init__.py", "swagger-initializer.js", "..%2Fapi.py"):
        assert httpx2.get(f"{url}/docs/{name}").status_code == 404


def test_a_bentoml_without_them(url, monkeypatch, tmp_path):
    monkeypatch.setitem(swagger.PATHS, "swagger-ui.css", tmp_path / "swagger-ui.css")
    answer = httpx2.get(f"{url}/docs/swagger-ui.css")
    assert answer.status_code == 404
    assert "open /docs.json in a Swagger UI of your own" in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium here: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, url):
    """A visitor, who asks nobody but the server. What Chromium notes, such as violations of the policy, fails the test."""
    context = browser.new_context(base_url=url)
    context.set_default_timeout(60_000)
    wrong: list[str] = []
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    context.on("console", lambda line: wrong.append(line.text) if "Failed to load resource" not in line.text else None)
    context.on(
        "request",
        lambda request: wrong.append(request.url) if not request.url.startswith((url, "blob:", "data:")) else None,
    )
    page = context.new_page()
    page.goto("/docs")
    yield page
    context.close()
    assert wrong == []


@pytest.mark.slow
def test_all_operations_are_listed_and_can_be_tried(page, url):
    headers = {"Authorization": f"Bearer {READ}"}
    document = httpx2.get(f"{url}/docs.json", headers=headers).json()
    page.locator("#token-form").wait_for()
    assert "token" in page.locator("#problem").inner_text()
    page.locator("#token-value").fill("a wrong token")
    page.locator("#token-form button").click()
    page.locator("#token-value").fill(READ)
    page.locator("#token-form button").click()
    page.locator(".opblock").first.wait_for()
    found = {
        (one.locator(".opblock-summary-method").inner_text().lower(), re.sub(r"[\s\u200b]", "", path.inner_text()))
        for one in page.locator(".opblock").all()
        for path in one.locator(".opblock-summary-path, .opblock-summary-path__deprecated").all()
    }
    assert found == {(method, path) for path, operations in document["paths"].items() for method in operations}
    block = page.locator("#operations-Open_Inference_Protocol-server_metadata")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    assert block.locator(".live-responses-table tbody td.response-col_status").first.inner_text().startswith("200")
    assert page.locator("#problem").is_hidden()


def test_its_files_travel_with_the_package_and_the_bento():
    for kind in ("html", "js", "css"):
        for file in ("bentofile.yaml", "scripts/deploy/bentofile.gpu.yaml"):
            assert f'"hubserve/service/swagger/*.{kind}"' in (ROOT / file).read_text()
        assert re.search(rf'"hubserve.service.swagger" = .*"\*\.{kind}"', (ROOT / "pyproject.toml").read_text())
