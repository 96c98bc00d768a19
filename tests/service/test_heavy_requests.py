"""A few large requests at a real server: others are answered, memory is bounded, and clients that leave cost nothing."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest
from PIL import Image

from tests.images import photo
from tests.service.conftest import Server, free_port, start, stop

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running(tmp_path_factory, lite0) -> Iterator[tuple[Server, int]]:
    """A server with two threads, and its process."""
    home, port = tmp_path_factory.mktemp("heavy"), free_port()
    server = Server(f"http://127.0.0.1:{port}", home, home / "server.log")
    server.hubserve("publish", str(lite0))
    settings = {"HUBSERVE_THREADS": "2", "HUBSERVE_SESSION_THREADS": "1", "HUBSERVE_MAX_BATCH": "4"}
    command = [sys.executable, "-m", "hubserve", "serve", "--port", str(port)]
    process = start(command, home, server.log, server.url, more=settings)
    try:
        yield server, process.pid
    finally:
        stop(process)


@pytest.fixture(scope="module")
def body() -> bytes:
    """16 AVIFs of 49 megapixels, in 28 kB."""
    stream = io.BytesIO()
    Image.new("RGB", (7000, 7000), (3, 4, 5)).save(stream, "AVIF", speed=10)
    found = json.dumps({"images": [base64.b64encode(stream.getvalue()).decode()] * 16}).encode()
    assert len(found) < 30_000
    return found


@contextmanager
def sent(url: str, path: str, body: bytes, count: int) -> Iterator[None]:
    """Requests whose answers are not read; their connections are closed at the end of the block."""
    host, port = url.removeprefix("http://").split(":")
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connections = [socket.create_connection((host, int(port))) for _ in range(count)]
    try:
        for connection in connections:
            connection.sendall(head.encode() + body)
        time.sleep(0.3)
        yield
    finally:
        for connection in connections:
            connection.close()


def others(url: str, seconds: float, pid: int) -> tuple[list[int], float, float]:
    """Statuses of a client that sends a photo again and again, its slowest answer in seconds, and the most memory in MB."""
    statuses, slowest, memory = [], 0.0, 0.0
    end = time.monotonic() + seconds
    with httpx2.Client(timeout=60) as client:
        while time.monotonic() < end:
            begin = time.monotonic()
            statuses.append(client.post(f"{url}/classify", content=photo("chelsea")).status_code)
            slowest = max(slowest, time.monotonic() - begin)
            memory = max(memory, resident_mb(pid))
            time.sleep(0.02)
    return statuses, slowest, memory


def test_others_are_answered_while_they_are_at_work(running, body):
    """Before: 503 for everybody for a minute, and 1,643 MB. Now: 0.2 s at the most, and 929 MB."""
    server, pid = running
    before = resident_mb(pid)
    with sent(server.url, "/classify", body, 4):
        statuses, slowest, memory = others(server.url, 8, pid)
    assert set(statuses) == {200}
    assert slowest < 4
    assert memory - before < 49 * 20  # One of 49 megapixels at a time.


def test_of_clients_that_left_nothing_remains(running, body):
    server, pid = running
    time.sleep(1)
    before = dropped(server.url)
    with sent(server.url, "/classify", body, 4):
        pass
    statuses, slowest, _ = others(server.url, 4, pid)
    assert set(statuses) == {200}
    assert slowest < 4
    # All images of the one that was admitted, but those that were being decoded or are waiting to be counted.
    end = time.monotonic() + 20
    while dropped(server.url) - before < 14:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_over_the_open_inference_protocol_too(running, body):
    server, pid = running
    images = json.loads(body)["images"]
    inputs = [{"name": "pictures", "shape": [16], "datatype": "BYTES", "data": images}]
    before = dropped(server.url)
    with sent(server.url, "/v2/models/efficientnet-lite0/infer", json.dumps({"inputs": inputs}).encode(), 4):
        statuses, slowest, _ = others(server.url, 3, pid)
    assert set(statuses) == {200}
    assert slowest < 4
    end = time.monotonic() + 20
    while dropped(server.url) == before:
        assert time.monotonic() < end
        time.sleep(0.1)


def dropped(url: str) -> float:
    lines = httpx2.get(f"{url}/metrics", timeout=20).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("hubserve_dropped_images_total"))


def resident_mb(pid: int) -> float:
    """Memory of a process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError, ValueError):
            parents.setdefault(int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    found, waiting = 0.0, [pid]
    while waiting:
        current = waiting.pop()
        waiting += parents.get(current, [])
        with suppress(OSError, IndexError):
            found += int(Path(f"/proc/{current}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return found
