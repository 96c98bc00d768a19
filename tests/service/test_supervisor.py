"""The processes of a server: what of them another user of the machine can open, their metrics, and how they end."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from hubserve import store
from hubserve.errors import ServerStartError, StoreError
from hubserve.service import api as service_api
from hubserve.service import launch, supervisor
from hubserve.service.middleware import ServiceMiddleware
from tests.images import photo
from tests.process_tree import listening, tree
from tests.service.conftest import ROOT, environment, free_port, start, stop
from tests.stores import small_package, store_at
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("server")

TOKEN = "a secret for tests"
NOBODY = 65534
SERVE = [sys.executable, "-m", "hubserve", "serve", "--port"]


@dataclass
class Running:
    """A server: its address, its process, the number of its workers, and its folders."""

    url: str
    process: subprocess.Popen[bytes]
    workers: int
    home: Path
    variables: dict[str, str]

    def metric(self, name: str) -> float:
        """The sum of all values of a metric."""
        lines = httpx2.get(f"{self.url}/metrics", timeout=30).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if re.match(rf"{name}[ {{]", line))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def variables(home: Path, workers: int) -> dict[str, str]:
    """Settings of a server with folders of its own."""
    config = home / "workers.yaml"
    config.write_text(f"services:\n  hubserve:\n    workers: {workers}\n")
    (home / "tmp").mkdir(exist_ok=True)
    folders = {"TMPDIR": str(home / "tmp"), "HUBSERVE_HOME": str(home / "hubserve")}
    measured = {"HUBSERVE_THREADS": "1", "HUBSERVE_SESSION_THREADS": "1", "HUBSERVE_MAX_BATCH": "4"}
    return {"BENTOML_CONFIG": str(config), "HUBSERVE_TOKEN": TOKEN, **folders, **measured}


@pytest.fixture(scope="module", params=[1, 2], ids=["one_worker", "two_workers"])
def running(request, tmp_path_factory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("supervisor")
    with store_at(home):
        store.publish(small_package().path, name="own")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    given = variables(home, request.param)
    process = start([*SERVE, str(port)], home, home / "log", url, more=given)
    try:
        yield Running(url, process, request.param, home, given)
    finally:
        stop(process)
    assert process.returncode == 0
    # A worker that was killed leaves what libraries keep for it alone.
    assert {path.name.partition("-")[0] for path in (home / "tmp").iterdir()} <= {".ses", "bentoml"}
    assert not list((home / "tmp").glob("bentoml-uds-*"))


@pytest.mark.slow
def test_only_the_port_that_was_asked_for_can_be_opened(running):
    until(lambda: len(tree(running.process.pid)) > running.workers)
    assert listening(running.process.pid) == {f"tcp 127.0.0.1:{running.port}"}


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_finds_no_token(running):
    """Tried as nobody: memory and environment of each process, and all files that they made."""
    pids = tree(running.process.pid)
    files = [path for path in (running.home / "tmp").rglob("*") if path.is_file()]
    code = f"""
import os, socket
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
for path in {[f"/proc/{pid}/{name}" for pid in pids for name in ("environ", "mem", "cmdline")] + list(map(str, files))}:
    try:
        content = open(path, "rb").read(10**6)
    except OSError:
        continue
    assert {TOKEN.encode()!r} not in content, path
    print(path)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    # A process that has ended in the meantime cannot be read.
    remaining = set(tree(running.process.pid)) & set(pids)
    assert {f"/proc/{pid}/cmdline" for pid in remaining} <= set(ran.stdout.split()) <= {f"/proc/{pid}/cmdline" for pid in pids}


@pytest.mark.slow
def test_metrics_survive_a_second_start_at_the_same_port(running):
    for _ in range(4):
        httpx2.post(f"{running.url}/classify", content=photo("coffee"), timeout=30).raise_for_status()
    before = running.metric("hubserve_requests_total")
    assert before >= 4
    begin = time.monotonic()
    second = subprocess.run(
        [*SERVE, str(running.port)],
        env={**environment(running.home), **running.variables},
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert "the port is in use" in second.stderr
    assert time.monotonic() - begin < 20
    assert running.metric("hubserve_requests_total") >= before


@pytest.mark.slow
def test_gauges_do_not_grow_with_a_crash(running):
    def loaded() -> bool:
        return (
            httpx2.get(f"{running.url}/readyz", timeout=30).status_code == 200 and running.metric("hubserve_loaded_bytes") > 0
        )

    until(loaded)
    before = running.metric("hubserve_loaded_bytes")
    for _ in range(2):
        children = tree(running.process.pid)[1:]
        os.kill(children[0], signal.SIGKILL)
        until(lambda gone=children[0]: gone not in tree(running.process.pid), seconds=20)
        until(lambda: len(tree(running.process.pid)) > running.workers, seconds=20)
        until(loaded, seconds=60)
    assert running.metric("hubserve_loaded_bytes") < 1.9 * before
    assert not list((running.home / "tmp").glob("hubserve-metrics-*")) or running.workers > 1


FULL = """
mount -t tmpfs -o size=4m tmpfs {disk} && cp -r {home}/models {disk}/models && mkdir {disk}/tmp {disk}/hubserve && exec "$@"
"""

CRASH = """
import os, signal, sys
if "_bentoml_impl.worker.service" in sys.orig_argv:
    {end}
"""


def may_unshare() -> bool:
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-rm", "true"]).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not may_unshare(), reason="this machine does not allow user and mount namespaces")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_no_worker(tmp_path, workers):
    """Store, temporary files and measurements on a disk of 4 MB, which is full from the start of the first request."""
    with store_at(tmp_path):
        store.publish(small_package().path, name="own")
    disk = tmp_path / "disk"
    disk.mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    given = {**variables(tmp_path, workers), "TMPDIR": f"{disk}/tmp", "HUBSERVE_HOME": f"{disk}/hubserve"}
    mounted = ["unshare", "-rm", "sh", "-c", FULL.format(disk=disk, home=tmp_path), "sh"]
    process = start([*mounted, *SERVE, str(port)], disk, tmp_path / "log", url, more=given)
    try:
        until(lambda: len(tree(process.pid)) == 1 + workers)  # Until what loads models for the first time has ended.
        pids = tree(process.pid)
        fill = f"/proc/{process.pid}/root{disk}/fill"
        with pytest.raises(OSError, match="No space left"), open(fill, "wb", buffering=0) as file:  # noqa: PT012
            while True:
                file.write(bytes(4096))
        paths = ("/livez", "/readyz", "/metrics", "/v2/models/own", "/schema.json", "/no/such")
        for _ in range(8):
            assert httpx2.post(f"{url}/classify", content=photo("coffee"), timeout=30).status_code == 200
            assert httpx2.post(f"{url}/classify?top_k=x", content=b"", timeout=30).status_code == 422
            assert {httpx2.get(url + path, timeout=30).status_code for path in paths} <= {200, 404}
        assert tree(process.pid)[: len(pids)] == pids
    finally:
        stop(process)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("os._exit(7)", "with exit code 7"),
        pytest.param("os.kill(os.getpid(), signal.SIGBUS)", "by SIGBUS, as when a disk is full", marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_cannot_start_ends_the_server(tmp_path, end, how):
    (tmp_path / "sitecustomize.py").write_text(CRASH.format(end=end))
    more = {**variables(tmp_path, 1), "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    ran = subprocess.run(
        [*SERVE, str(free_port())], env={**environment(tmp_path), **more}, capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert ran.returncode == 1
    assert f"the server ends: its worker ended {how} before it could answer" in ran.stdout
    assert "Traceback" not in ran.stdout + ran.stderr


class TestWorkers:
    def started(self, *pids: int) -> supervisor._Workers:
        workers = supervisor._Workers()
        for pid in pids:
            os.write(workers.started_fd, b"%d\n" % pid)
        return workers

    def test_the_first_that_ends_before_it_answers_ends_the_server(self):
        workers = self.started()
        assert workers.ended(1, 3)
        assert workers.reason == "its worker ended with exit code 3 before it could answer; its messages above say why"

    def test_ends_again_and_again_end_the_server(self):
        workers = self.started(1)
        assert [workers.ended(pid, -9) for pid in range(1, supervisor.MOST_ENDS + 1)] == [False] * 4 + [True]
        assert workers.reason == "its worker ended by SIGKILL, as when memory is exhausted, the 5th within 300 s"

    def test_ends_that_lie_far_apart_do_not(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
        workers = self.started(1)
        for pid in range(1, 20):
            now[0] += supervisor.ENDS_SECONDS / 4
            assert not workers.ended(pid, 1)

    def test_one_that_was_asked_to_end_does_not_count(self):
        workers = self.started()
        assert not any(workers.ended(pid, -signal.SIGTERM) for pid in range(9))

    def test_one_that_never_answers_is_killed(self, monkeypatch):
        killed: list[int] = []
        now = [0.0]
        monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(supervisor.os, "kill", lambda pid, number: killed.append(pid))
        workers = self.started(2)
        workers.kill_late([1, 2])
        now[0] = supervisor.START_SECONDS + 1
        workers.kill_late([1, 2])
        assert killed == [1]


class TestFindAddress:
    def test_of_this_machine(self):
        assert launch.find_address("localhost", free_port()) == "127.0.0.1"
        assert launch.find_address("0.0.0.0", free_port()) == "0.0.0.0"

    def test_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with pytest.raises(ServerStartError, match="the port is in use"):
                launch.find_address("127.0.0.1", taken.getsockname()[1])

    @pytest.mark.parametrize("host", ["203.0.113.7", "2001:db8::7"])
    def test_of_another_machine(self, host):
        with pytest.raises(ServerStartError, match=r"cannot listen at .*: (this machine has no such address|it is no address)"):
            launch.find_address(host, free_port())

    @pytest.mark.parametrize("host", ["no such name", "", "a" * 300, "\x00"])
    def test_no_address(self, host):
        with pytest.raises(ServerStartError, match="cannot listen at"):
            launch.find_address(host or "999.1.1.1", free_port())

    def test_without_the_privilege(self, monkeypatch):
        class Refusing(socket.socket):
            def bind(self, address):
                raise OSError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(launch.socket, "socket", Refusing)
        with pytest.raises(
            ServerStartError, match="port 80: this user may not listen there: ports below 1024 need a privilege"
        ):
            launch.find_address("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"HUBSERVE_TOKEN": "short!?"}, "wrong settings: HUBSERVE_TOKEN: "),
        ({"BENTOML_CONFIG": "/no/such.yaml"}, "BENTOML_CONFIG=/no/such.yaml: "),
    ],
)
def test_a_start_that_fails_is_one_sentence(tmp_path, more, said):
    environ = {**environment(tmp_path), **variables(tmp_path, 1), **more}
    ran = subprocess.run([*SERVE, str(free_port())], env=environ, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"ServerStartError: {said}")
    assert ran.stderr.count("\n") == 1
    assert "short!?" not in ran.stderr


def test_an_expected_error_at_the_start_of_a_worker_is_one_sentence(monkeypatch):
    def broken(_: object) -> None:
        raise StoreError("the store is a file")

    monkeypatch.setattr(service_api, "ServiceState", broken)
    sent = []

    async def receive() -> dict:
        return {"type": "lifespan.startup"}

    async def send(message) -> None:
        sent.append(message)

    with pytest.raises(StoreError):
        asyncio.run(ServiceMiddleware(service_api.build_api())({"type": "lifespan"}, receive, send))
    message = "hubserve cannot start: StoreError: the store is a file"
    assert sent == [{"type": "lifespan.startup.failed", "message": message}]


@pytest.mark.slow
@pytest.mark.parametrize("others", [(), ("onnxruntime", "onnxruntime-gpu")], ids=["one_runtime", "both"])
def test_the_start_warns_of_two_onnx_runtimes(others, tmp_path, monkeypatch, caplog):
    for name in others:
        folder = tmp_path / f"{name.replace('-', '_')}-1.99.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.99\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(supervisor.bentoml_circus.Arbiter, "start", lambda self, cb: None)
    arbiter = object.__new__(supervisor.Arbiter)
    arbiter.exit_stack, arbiter._metrics_folder = ExitStack(), None
    with caplog.at_level("WARNING", "hubserve.service"):
        arbiter.start()
    assert ("onnxruntime-gpu 1.99, onnxruntime 1.99: both install the same files" in caplog.text) == bool(others)
