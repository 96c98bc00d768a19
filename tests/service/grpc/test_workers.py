"""gRPC with several workers: they share the port, all of them answer, and one that ends is replaced."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import tritonclient.grpc as triton

from hubserve import store
from tests.images import noise
from tests.process_tree import connections, listening_of, tree
from tests.service.conftest import free_port, start, stop
from tests.stores import small_package, store_at
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1_200), pytest.mark.xdist_group("server")]


def pids_at(port: int, process: int) -> set[int]:
    """The processes of a server that listen at a port."""
    # gRPC binds an address of IPv4 by a socket of IPv6.
    return {pid for pid in tree(process) if any(one.endswith(f":{port}") for one in listening_of([pid]))}


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory) -> Iterator[tuple[int, int]]:
    """The port for gRPC and the process of a server with two workers."""
    home = tmp_path_factory.mktemp("two")
    with store_at(home):
        store.publish(small_package().path, version="v1")
    (home / "workers.yaml").write_text("services:\n  hubserve:\n    workers: 2\n")
    variables = {"BENTOML_CONFIG": str(home / "workers.yaml"), "HUBSERVE_HOME": str(home / "hubserve")}
    variables |= {f"HUBSERVE_{name}": "1" for name in ("THREADS", "SESSION_THREADS", "MAX_BATCH")}
    port, grpc_port = free_port(), free_port()
    command = [sys.executable, "-m", "hubserve", "serve", "--port", str(port), "--grpc-port", str(grpc_port)]
    process = start(command, home, home / "log", f"http://127.0.0.1:{port}", more=variables, seconds=400)
    try:
        until(lambda: len(pids_at(grpc_port, process.pid)) == 2, seconds=300)
        yield grpc_port, process.pid
    finally:
        stop(process)
    assert process.returncode == 0


def answers(port: int, count: int, stack: ExitStack) -> list[np.ndarray]:
    """The logits of one image over `count` connections, which stay open until `stack` is closed."""
    found = []
    for i in range(count):
        # Clients of one process share a connection unless their options differ.
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.primary_user_agent", f"client{i}")]
        client = stack.enter_context(triton.InferenceServerClient(f"127.0.0.1:{port}", channel_args=options))
        tensor = triton.InferInput("pictures", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([noise()], object))
        found.append(client.infer("small", [tensor]).as_numpy("logits"))
    return found


def test_both_answer_and_one_that_is_killed_is_replaced(two_workers):
    port, process = two_workers
    with ExitStack() as stack:
        first = answers(port, 24, stack)
        assert all(np.array_equal(first[0], other) for other in first)
        workers = pids_at(port, process)
        # The kernel spreads connections at random: that one of two workers gets none of 24 happens once in eight million.
        assert all(connections(pid, port) for pid in workers)
    killed = min(workers)
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in tree(process) and len(pids_at(port, process)) == 2, seconds=300)
    with ExitStack() as stack:
        assert all(np.array_equal(first[0], other) for other in answers(port, 8, stack))
