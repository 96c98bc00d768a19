"""The files of the web page, as a browser gets them; tests/service/test_browser.py uses them in one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from hubserve.service import page

FOLDER = Path(page.__file__).parent
SCRIPTS = sorted(name for name in page.FILES if name.endswith(".js"))


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    app.include_router(page.router)
    with TestClient(app, headers={"Accept-Encoding": "identity"}) as client:
        yield client


def address(name: str) -> str:
    return "/" if name == "index.html" else f"/page/{name}"


class TestFiles:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [("index.html", "text/html"), ("main.js", "text/javascript"), ("style.css", "text/css"), ("icon.svg", "image/svg+xml")],
    )
    def test_content_and_type(self, client, name, kind):
        answer = client.get(address(name))
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        assert answer.content == (FOLDER / name).read_bytes()

    @pytest.mark.parametrize("name", sorted(page.FILES))
    def test_head_says_what_get_would(self, client, name):
        head, get = client.head(address(name)), client.get(address(name))
        assert head.content == b""
        assert head.headers == get.headers

    @pytest.mark.parametrize("name", ["nosuch.js", "__init__.py", "..%2Fapi.py", "../api.py", "%2e%2e/api.py", "main.js/", ""])
    def test_nothing_else(self, client, name):
        assert client.get(f"/page/{name}", follow_redirects=False).status_code in (307, 404)

    def test_gzipped_where_the_browser_takes_it(self, client):
        answer = client.get("/page/style.css", headers={"Accept-Encoding": "gzip, br"})
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < len(page.FILES["style.css"].plain) / 2
        assert answer.content == page.FILES["style.css"].plain

    def test_not_sent_again(self, client):
        tag = client.get("/").headers["etag"]
        for known in (tag, f'"other", {tag}', "*"):
            answer = client.get("/", headers={"If-None-Match": known})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == tag
        assert client.get("/", headers={"If-None-Match": '"other"'}).status_code == 200
        assert client.get("/page/main.js").headers["etag"] != tag

    def test_small(self):
        """62,000 and 24,000 without fine-tuning: its start, curves and result; 2,000 for what limits refused and the front;
        2,300 for texts."""
        apart = {*page.IN_BROWSER, "in_browser.html"}
        assert sum(len(file.plain) for name, file in page.FILES.items() if name not in apart) < 78_000
        assert sum(len(file.packed) for name, file in page.FILES.items() if name not in apart) < 29_600
        assert sum(len(page.FILES[name].packed) for name in apart) < 6_000


class TestSafety:
    @pytest.mark.parametrize("name", sorted(page.FILES))
    def test_headers(self, client, name):
        headers = client.get(address(name)).headers
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_no_way_from_text_to_markup(self, name):
        text = page.FILES[name].plain.decode()
        assert not re.search(r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|srcdoc|DOMParser)\b", text)

    @pytest.mark.parametrize("name", sorted(page.FILES))
    def test_asks_nobody_else(self, name):
        addresses = re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+", page.FILES[name].plain.decode())
        assert set(addresses) <= {"http://www.w3.org"}, "the name of SVG is no request"


class TestParts:
    def test_every_script_is_told_of_and_there(self, client):
        told = re.findall(r"<page/([a-z]+\.js)>; rel=modulepreload", client.get("/").headers["link"])
        assert told == [name for name in SCRIPTS if name not in page.IN_BROWSER]

    @pytest.mark.parametrize("name", SCRIPTS)
    def test_imports_exist(self, name):
        text = page.FILES[name].plain.decode()
        for names, module in re.findall(r"import \{([^}]*)\} from './([a-z]+\.js)'", text):
            exported = re.findall(r"export (?:async )?(?:const|class|function) (\w+)", page.FILES[module].plain.decode())
            assert {n.strip() for n in names.split(",")} <= set(exported)
            assert all(len(re.findall(rf"\b{n.strip()}\b", text)) > 1 for n in names.split(",")), "an import is not used"

    def test_every_id_that_a_script_asks_for_is_in_the_page(self):
        for name in SCRIPTS:
            html = "in_browser.html" if name in page.IN_BROWSER else "index.html"
            ids = set(re.findall(r'id="([a-z-]+)"', page.FILES[html].plain.decode()))
            text = page.FILES[name].plain.decode()
            made = set(re.findall(r"\bid: '([a-z-]+)'", text))
            assert set(re.findall(r"byId\('([a-z-]+)'\)", text)) <= ids | made, name

    def test_they_travel_with_the_package_and_the_bento(self):
        root = FOLDER.parent.parent.parent
        for suffix in page.KINDS:
            assert f'"*{suffix}"' in (root / "pyproject.toml").read_text()
            assert f'"hubserve/service/page/*{suffix}"' in (root / "bentofile.yaml").read_text()
