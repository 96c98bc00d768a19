"""Which names the server answers for."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from hubserve.errors import HostError
from hubserve.service.host_check import HostCheck


def allows(allowed: str | None, host: str | None, server: str | None = "127.0.0.1") -> bool:
    headers = [] if host is None else [(b"host", host.encode("latin-1"))]
    connection = HTTPConnection({"type": "http", "headers": headers, "server": server and (server, 80)})
    try:
        HostCheck(allowed).check(connection)
    except HostError:
        return False
    return True


@pytest.mark.parametrize("server", ["127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1"])
def test_a_loopback_address_answers_for_loopback_names_and_addresses(server):
    for host in ("localhost", "LOCALHOST:3000", "localhost.", "x.localhost", "127.0.0.1:1", "[::1]", "192.168.0.7", "", None):
        assert allows(None, host, server) is (host != ""), host
    for host in ("evil.example", "localhost.evil.example", "evil-localhost", "[evil.example]", "127.0.0.1.evil.example"):
        assert not allows(None, host, server), host


@pytest.mark.parametrize("server", ["0.0.0.0", "10.0.0.5", "fd00::1", "testserver", None])
def test_other_addresses_answer_for_any_name_unless_it_is_set(server):
    assert allows(None, "hubserve.example", server)
    assert allows(None, "10.0.0.5:3000", server)
    assert not allows("api.example", "hubserve.example", server)


def test_a_list():
    allowed = " api.example , *.inner.example "
    for host in ("api.example", "API.example:443", "a.b.inner.example", "localhost", "10.0.0.5:3000"):
        assert allows(allowed, host), host
    for host in ("x.api.example", "inner.example", "xinner.example", "evil.example"):
        assert not allows(allowed, host), host
    assert allows("*", "evil.example")
