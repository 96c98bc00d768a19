"""`hubserve serve`: its arguments reach the server."""

from __future__ import annotations

import os
import signal
import socket
import sys

import httpx2
import pytest

from hubserve import store
from hubserve.store import aliases
from tests.images import noise
from tests.service.conftest import free_port, start, stop


def test_host_port_and_model(hubserve, home, small, tmp_path):
    """The whole 127 net is loopback, so another address of it tells whether the option works."""
    older, newer = store.publish(small, name="older"), store.publish(small, name="newer")
    port = free_port()
    url = f"http://127.0.0.2:{port}"
    command = [sys.executable, "-m", "hubserve", "serve", "--host", "127.0.0.2", "--port", str(port), "--model", "older"]
    process = start(command, home, tmp_path / "log", url)
    try:
        assert httpx2.post(f"{url}/classify", content=noise()).json()["model"] == older.tag
        assert httpx2.post(f"{url}/classify?model=newer", content=noise()).json()["model"] == newer.tag
        assert {m["tag"]: m["default"] for m in httpx2.get(f"{url}/models").json()} == {older.tag: True, newer.tag: False}
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"http://127.0.0.1:{port}/readyz")
    finally:
        stop(process)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_model_that_is_not_there(hubserve, tiny):
    store.publish(tiny, name="flowers")
    message = hubserve("serve", "--model", "flower").refused("ModelNotFoundError")
    assert message == "the store has no 'flower'. Did you mean flowers?"


def test_an_alias(hubserve, tiny, monkeypatch):
    """Up to where this process becomes the server."""
    tag = store.publish(tiny, name="flowers").tag
    aliases.set_alias("production", tag)
    became = []
    monkeypatch.setattr("hubserve.service.launch.serve", lambda **wish: became.append(wish))
    hubserve("serve", "--model", "production").fine()
    assert became == [{"host": "127.0.0.1", "port": 3000, "model": "production"}]
    assert "Of the aliases: Did you mean production?" in hubserve("serve", "--model", "producton").refused("ModelNotFoundError")


def test_settings_that_make_no_sense(hubserve, monkeypatch):
    """Told before this process becomes the server, which is where the test stops it."""

    def becomes_the_server(*_):
        raise AssertionError("the server starts with settings that it cannot use")

    monkeypatch.setattr(os, "execve", becomes_the_server)
    monkeypatch.setenv("HUBSERVE_THREADS", "0")
    assert "HUBSERVE_THREADS" in hubserve("serve").refused("ServerStartError")


class TestGrpcPort:
    @pytest.fixture(autouse=True)
    def _no_settings(self, monkeypatch):
        """The command sets these variables for the server that it becomes; here they are set back."""
        for name in ("HUBSERVE_GRPC_PORT", "HUBSERVE_GRPC_HOST"):
            monkeypatch.setenv(name, "x")
            monkeypatch.delenv(name)

    def test_it_is_checked_before_the_server_starts(self, hubserve):
        port = str(free_port())
        message = hubserve("serve", "--port", port, "--grpc-port", port).refused("ServerStartError")
        assert message == f"HTTP and gRPC cannot share port {port}: name another one with --grpc-port"
        with socket.create_server(("127.0.0.1", 0)) as taken:
            message = hubserve("serve", "--port", port, "--grpc-port", str(taken.getsockname()[1])).refused("ServerStartError")
        assert "the port is in use" in message

    def test_without_grpc(self, hubserve, monkeypatch):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
        message = hubserve("serve", "--grpc-port", str(free_port())).refused("MissingExtraError")
        assert "pip install 'hubserve[grpc]'" in message

    @pytest.mark.slow
    def test_it_answers_at_the_address_of_http(self, home, small, tmp_path):
        triton = pytest.importorskip("tritonclient.grpc")
        store.publish(small)
        port, grpc_port = free_port(), free_port()
        command = [sys.executable, "-m", "hubserve", "serve", "--host", "127.0.0.2", "--port", str(port)]
        process = start([*command, "--grpc-port", str(grpc_port)], home, tmp_path / "log", f"http://127.0.0.2:{port}")
        try:
            with triton.InferenceServerClient(f"127.0.0.2:{grpc_port}") as client:
                assert client.is_server_ready()
                assert client.is_model_ready("small")
            with socket.socket() as other:
                assert other.connect_ex(("127.0.0.1", grpc_port)) != 0
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert "Traceback" not in (tmp_path / "log").read_text()
