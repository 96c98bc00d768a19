"""Downloads against a real server on loopback that fails in every way we know."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubserve.errors import ChecksumError, WeightsUnavailableError
from hubserve.hub.download import Download
from tests.hub.loopback import cut_after, file_server, ignoring_ranges, page, redirect, silent, status

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with file_server() as files:
        files.files["/w.pth"] = CONTENT
        yield files


@pytest.fixture
def download(server, tmp_path):
    def make(path: str = "/w.pth", **options) -> Download:
        options = {"sha256": SHA256, "timeout_seconds": 5.0, "pause_seconds": 0.01, "progress": False, **options}
        return Download(server.url + path, tmp_path / "cache" / "w.pth", **options)

    return make


def left_over(tmp_path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "cache").iterdir() if not p.name.endswith(".lock"))


def test_a_file_comes_whole_and_once(server, download, tmp_path):
    assert download().fetch().read_bytes() == CONTENT
    download().fetch()
    assert server.requests == [("/w.pth", None)]
    assert left_over(tmp_path) == ["w.pth"]


def test_leading_digits_of_the_hash_are_enough(download):
    download(sha256=SHA256[:8]).fetch()


def test_404_is_final_and_leaves_nothing(server, download, tmp_path):
    with pytest.raises(WeightsUnavailableError, match="HTTP 404"):
        download("/gone.pth").fetch()
    assert len(server.requests) == 1
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_passing_fault_is_tried_again(server, download, code):
    server.answers["/w.pth"] = [status(code), status(code)]
    assert download().fetch().read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_a_lasting_fault_is_named(server, download, tmp_path):
    server.answers["/w.pth"] = [status(500)] * 3
    with pytest.raises(WeightsUnavailableError, match=r"HTTP 500 .*, 3 times"):
        download().fetch()
    assert left_over(tmp_path) == []


def test_a_web_page_is_never_hashed_or_kept(server, download, tmp_path):
    server.answers["/w.pth"] = [page]
    with pytest.raises(WeightsUnavailableError, match="a web page in place of a file"):
        download().fetch()
    assert left_over(tmp_path) == []


def test_another_file_is_refused_and_removed(server, download, tmp_path):
    server.files["/w.pth"] = b"something else"
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(ChecksumError, match=f"sha256 is {found}, expected {SHA256}"):
        download().fetch()
    assert left_over(tmp_path) == []


def test_a_broken_connection_goes_on_where_it_broke(server, download):
    server.answers["/w.pth"] = [cut_after(300_000)]
    assert download().fetch().read_bytes() == CONTENT
    assert server.requests == [("/w.pth", None), ("/w.pth", "bytes=300000-")]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cuts=st.lists(st.integers(0, len(CONTENT) - 1), min_size=1, max_size=2))
def test_wherever_it_breaks(server, tmp_path_factory, cuts):
    server.answers["/w.pth"] = [cut_after(cut) for cut in cuts]
    path = tmp_path_factory.mktemp("cache") / "w.pth"
    Download(server.url + "/w.pth", path, SHA256, progress=False, pause_seconds=0).fetch()
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server, download):
    server.answers["/w.pth"] = [cut_after(300_000), ignoring_ranges]
    assert download().fetch().read_bytes() == CONTENT


def test_two_versions_are_never_glued_together(server, download):
    server.answers["/w.pth"] = [cut_after(300_000)] * 3
    with pytest.raises(WeightsUnavailableError, match=r"RemoteProtocolError.*, 3 times"):
        download().fetch()
    newer = CONTENT[::-1]
    server.files["/w.pth"], server.etag = newer, '"v2"'
    assert download(sha256=hashlib.sha256(newer).hexdigest()).fetch().read_bytes() == newer


def test_redirects_are_followed(server, download):
    server.answers["/old.pth"] = [redirect("/w.pth")]
    assert download("/old.pth").fetch().read_bytes() == CONTENT


def test_endless_redirects_end(server, download):
    server.answers["/old.pth"] = [redirect("/old.pth")] * 50
    with pytest.raises(WeightsUnavailableError, match="TooManyRedirects"):
        download("/old.pth").fetch()


def test_a_silent_server_is_given_up(server, download):
    release = threading.Event()
    server.answers["/w.pth"] = [silent(release)] * 3
    with pytest.raises(WeightsUnavailableError, match="ReadTimeout"):
        download(timeout_seconds=0.1).fetch()
    release.set()


def test_nobody_listens(tmp_path):
    with pytest.raises(WeightsUnavailableError, match="ConnectError"):
        Download("http://127.0.0.1:9/w.pth", tmp_path / "w.pth", SHA256, progress=False, pause_seconds=0).fetch()


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(WeightsUnavailableError, match=r"cannot write .*HUBSERVE_HOME"):
        Download(f"{server.url}/w.pth", tmp_path / "file" / "w.pth", SHA256, progress=False).fetch()


def test_an_address_that_is_none(tmp_path):
    with pytest.raises(WeightsUnavailableError, match="UnsupportedProtocol"):
        Download("ftp://127.0.0.1/w.pth", tmp_path / "w.pth", SHA256, progress=False).fetch()


def _fetch(url, path):
    Download(url, path, SHA256, progress=False).fetch()


def test_two_processes_ask_once(server, tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_fetch, args=(server.url + "/w.pth", tmp_path / "w.pth")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert len(server.requests) == 1


@pytest.mark.slow
def test_a_killed_download_is_resumed(server, download, tmp_path):
    release = threading.Event()

    def stall(handler, content):
        handler.reply(200, content[:600_000], announced=len(content), ETag=server.etag)
        release.wait(20)

    server.answers["/w.pth"] = [stall]
    part = tmp_path / "cache" / "w.pth.part"
    code = (
        "import sys, pathlib; from hubserve.hub.download import Download;"
        f"Download({server.url + '/w.pth'!r}, pathlib.Path({str(tmp_path / 'cache' / 'w.pth')!r}), {SHA256!r}).fetch()"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 30
    while (not part.exists() or part.stat().st_size < 500_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    release.set()
    kept = part.stat().st_size
    assert kept >= 500_000
    assert download().fetch().read_bytes() == CONTENT
    assert server.requests[-1] == ("/w.pth", f"bytes={kept}-")
