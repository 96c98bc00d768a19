"""A service that answers gRPC, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx2
import pytest

from hubserve import store
from tests.service.conftest import free_port
from tests.stores import service_over, small_package
from tests.waiting import until


@dataclass
class BothServers:
    """Attributes:
    url: of HTTP.
    grpc: host and port of gRPC.
    """

    url: str
    grpc: str


@pytest.fixture(scope="module")
def serve_both(tmp_path_factory) -> Iterator[Callable[..., BothServers]]:
    """Starts a service with these settings and the small model."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:

        def start(**settings: str) -> BothServers:
            port = free_port()
            for name, value in {**settings, "GRPC_PORT": str(port)}.items():
                patch.setenv(f"HUBSERVE_{name}", value)
            url = stack.enter_context(service_over(tmp_path_factory.mktemp("grpc")))
            store.publish(small_package().path, version="v1")
            until(lambda: httpx2.get(f"{url}/v2/health/ready").status_code == 200)
            for name in settings:
                patch.delenv(f"HUBSERVE_{name}")
            return BothServers(url, f"127.0.0.1:{port}")

        yield start
