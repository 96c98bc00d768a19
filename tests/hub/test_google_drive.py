"""Google Drive, as a server on loopback that behaves like it: the page for large files, quota, sign-in."""

from __future__ import annotations

import hashlib
import urllib.parse

import pytest

from hubserve.cards.card import WeightSource
from hubserve.errors import ChecksumError, WeightsUnavailableError
from hubserve.hub.google_drive import confirmed_address
from hubserve.hub.web_page import read_page
from hubserve.hub.weight_sources import fetch, fetch_first
from hubserve.hub.weights_availability import ask
from tests.hub.loopback import file_server, redirect

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SOURCE = WeightSource(drive="abc", sha256=SHA256)
PATH = "/download"


def html(handler, text, code=200):
    handler.reply(code, text.encode(), Content_Type="text/html; charset=utf-8")


def confirmation(action, **fields):
    inputs = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items())
    return (
        "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body><p>too large to scan</p>"
        f'<form id="download-form" action="{action}" method="get"><input type="submit" value="Download anyway"/>{inputs}'
        "</form></body></html>"
    )


def large_file(handler, content):
    """The file to whoever sends all fields of the form, and the page with the form to all others."""
    query = dict(urllib.parse.parse_qsl(handler.path.partition("?")[2]))
    if query == {"id": "abc", "export": "download", "confirm": "t", "uuid": "1-2&3"}:
        handler.reply(200, content, ETag='"v1"')
    else:
        action = f"{handler.files.url}{PATH}"
        html(handler, confirmation(action, id="abc", export="download", confirm="t", uuid="1-2&amp;3"))


def page(title, text="", code=200):
    return lambda handler, _: html(handler, f"<html><title>{title}</title><p>{text}</p></html>", code)


QUOTA = page("Google Drive - Quota exceeded", "Sorry. Too many users have viewed or downloaded this file recently.")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    for name in ("HUBSERVE_OFFLINE", "HUBSERVE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    with file_server() as files:
        files.files[PATH] = CONTENT
        monkeypatch.setattr("hubserve.hub.google_drive.DRIVE", files.url + PATH)
        yield files


def test_a_small_file_comes_at_once(server):
    assert fetch(SOURCE, progress=False).read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_large_file_comes_through_the_form_of_its_page(server):
    server.answers[PATH] = [large_file] * 4
    assert ask(SOURCE).text == f"HTTP 200 OK, a file of {len(CONTENT)} bytes, after the confirmation page"
    assert fetch(SOURCE, progress=False).read_bytes() == CONTENT
    assert len(server.requests) == 4


def test_the_file_of_another_hash_is_refused(server):
    server.answers[PATH] = [large_file] * 2
    with pytest.raises(ChecksumError, match="expected 00000000"):
        fetch(SOURCE.model_copy(update={"sha256": "00000000"}), progress=False)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (QUOTA, "quota for downloads of this file is exceeded"),
        (page("Sign in - Google Accounts"), "asks to sign in"),
        (page("Error 404 (Not Found)!!1", code=404), "HTTP 404, 'Error 404"),
        (page("Some news"), "HTTP 200, 'Some news'"),
        (redirect("/ServiceLogin"), "'Google Accounts' from"),
    ],
)
def test_other_pages_are_errors_of_their_own(server, answer, message):
    server.files["/w.pth"] = CONTENT
    server.answers["/ServiceLogin"] = [page("Google Accounts")] * 3
    server.answers[PATH] = [answer] * 3
    with pytest.raises(WeightsUnavailableError, match=message):
        fetch(SOURCE, progress=False)
    answered = ask(SOURCE)
    assert not answered.usable
    assert message.replace("HTTP 200, ", "") in answered.text
    _, source = fetch_first([SOURCE, WeightSource(url=f"{server.url}/w.pth", sha256=SHA256)], what="m", progress=False)
    assert source.url is not None  # The next source has it.


def test_a_quota_after_the_confirmation(server):
    server.answers[PATH] = [large_file, QUOTA]
    with pytest.raises(WeightsUnavailableError, match="quota"):
        fetch(SOURCE, progress=False)


def test_a_page_that_asks_again_is_not_followed_for_ever(server):
    def always(handler, _):
        html(handler, confirmation(handler.files.url + PATH, id="abc", confirm="t"))

    server.answers[PATH] = [always] * 5
    with pytest.raises(WeightsUnavailableError, match="asks to confirm the download again"):
        fetch(SOURCE, progress=False)
    assert len(server.requests) == 2


@pytest.mark.parametrize("action", ["https://evil.example/download", "http://drive.usercontent.google.com/download", ""])
def test_a_form_leads_to_google_drive_alone(action):
    found = read_page(confirmation(action, id="abc", confirm="t"), url="https://elsewhere.example/")
    with pytest.raises(WeightsUnavailableError, match=r"only https://drive\.usercontent\.google\.com is asked"):
        confirmed_address(found)
