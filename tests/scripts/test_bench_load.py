"""scripts/bench load: its requests go to the address that it was given, and its answers are counted."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.service.conftest import free_port

LOAD = Path(__file__).parent.parent.parent / "scripts" / "benchmarks" / "load.py"
# The whole 127 net is loopback: one of its addresses stands for another machine.
ELSEWHERE = "127.0.0.2"


class Listener(ThreadingHTTPServer):
    """Notes (path, Host, Authorization, length of the body) of each request."""

    def __init__(self, chunked: bool) -> None:
        super().__init__((ELSEWHERE, 0), Handler)
        self.chunked = chunked
        self.seen: list[tuple[str, str, str | None, int]] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listener

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers["Host"], self.headers["Authorization"], len(body)))
        self.send_response(200)
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"4\r\n{\r\n}\r\n", b"3\r\n0\r\n\r\n", b"0\r\n\r\n"):
                self.wfile.write(part)
                time.sleep(0.02)  # So that each comes alone.
        else:
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@contextmanager
def listening(*, chunked: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[Listener]:
    server = Listener(chunked)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def bench(tmp_path):
    """Runs it with a picture of three bytes; returns what it printed, or its complaint."""
    (tmp_path / "photo.jpg").write_bytes(b"abc")

    def run(url: str, *options: str, code: int = 0, **environment: str) -> str:
        command = [sys.executable, str(LOAD), str(tmp_path / "photo.jpg"), "--url", url, "--seconds", "0.5", *options]
        ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
        assert ran.returncode == code, ran.stderr
        return ran.stderr if code else ran.stdout

    return run


def counted(said: str) -> int:
    """Answers with status 200; there were no others, and none was lost."""
    (count,) = re.findall(r"^statuses: \{200: (\d+)\}, lost: 0$", said, re.MULTILINE)
    return int(count)


@pytest.mark.parametrize("options", [("--clients", "2"), ("--rate", "20")])
def test_another_host(bench, options):
    with listening() as server:
        said = bench(f"http://{ELSEWHERE}:{server.server_port}", "--token", "secret", *options)
    assert 1 <= counted(said) <= len(server.seen)
    assert set(server.seen) == {("/classify", f"{ELSEWHERE}:{server.server_port}", "Bearer secret", 3)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("after", "path"),
    [
        ("/", "/classify"),
        ("/models/cats/", "/models/cats/classify"),
        ("/classify", "/classify"),
        ("/cats?model=a&top_k=1", "/cats/classify?model=a&top_k=1"),
    ],
)
def test_a_path_and_a_query(bench, after, path):
    with listening() as server:
        counted(bench(f"http://{ELSEWHERE}:{server.server_port}{after}", "--clients", "1"))
    assert {seen[0] for seen in server.seen} == {path}


def test_answers_in_chunks(bench):
    """The second of them looks like the last one, and is not."""
    with listening(chunked=True) as server:
        assert 1 <= counted(bench(f"http://{ELSEWHERE}:{server.server_port}", "--clients", "1")) <= len(server.seen)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_https(bench, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=test"]
    command += ["-addext", f"subjectAltName=IP:{ELSEWHERE}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with listening(tls=tls) as server:
        url = f"https://{ELSEWHERE}:{server.server_port}"
        assert counted(bench(url, "--clients", "1", SSL_CERT_FILE=str(certificate))) >= 1
        assert "certificate" in bench(url, code=1), "whom nobody vouches for"


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://127.0.0.1", "http://"])
def test_what_is_no_address(bench, url):
    said = " ".join(bench(url, code=2).replace("│", " ").split())
    assert "is no address such as http://127.0.0.1:3000" in said


def test_where_nobody_listens(bench):
    url = f"http://{ELSEWHERE}:{free_port()}"
    assert bench(url, code=1).startswith(f"{url} cannot be reached: ")
