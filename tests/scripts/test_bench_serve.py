"""scripts/bench serve: all servers are measured in turn beside the limit, whatever becomes of some of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from hubserve.service.engine import Engine
from tests.images import photo
from tests.stores import small_package

BENCHMARKS = Path(__file__).parent.parent.parent / "scripts" / "benchmarks"


@pytest.fixture
def serve(monkeypatch):
    """The bench as a module."""
    for folder in (BENCHMARKS, BENCHMARKS / "servers"):
        monkeypatch.syspath_prepend(str(folder))
    import serve

    yield serve
    for name in ("serve", "load", "paired", "photos", "running", "limit"):
        sys.modules.pop(name, None)


class Constant:
    """A server or limit whose answers cost `cpu_ms`, and the order in which all of them are asked."""

    asked: list[tuple[str, int]]

    def __init__(self, name: str, cpu_ms: float) -> None:
        self.name, self.cpu_ms = name, cpu_ms

    def slice(self, clients, seconds, found):
        self.asked.append((self.name, clients))
        found.cpu_ms.append(self.cpu_ms)
        found.per_second.append(1000 / self.cpu_ms)
        found.latencies_ms += [1.0, 2.0]


@pytest.fixture
def printed(serve, monkeypatch, capsys):
    """What it prints where our server needs 11 ms, the limit 10 and every other 20, and `broken` ones do not start."""
    monkeypatch.setattr(Constant, "asked", [], raising=False)

    def run(broken: tuple[str, ...] = (), **options: object) -> str:
        def started(stack, name, server, bodies, headers=""):
            return None if name in broken else Constant(name, 11 if name == serve.OURS else 20)

        @contextmanager
        def limit_running(*_, **__):
            yield Constant(serve.LIMIT, 10)

        monkeypatch.setattr(serve, "_started", started)
        monkeypatch.setattr(serve, "limit_running", limit_running)
        monkeypatch.setattr(serve, "pictures", lambda: [b""])
        preprocess = SimpleNamespace(interpolation="bilinear")
        package = SimpleNamespace(path=Path("nowhere"), manifest=SimpleNamespace(preprocess=preprocess))
        monkeypatch.setattr(serve, "package_of", lambda model, folder: package)
        serve.main(**{"clients": "32", "rounds": 2, **options})
        return capsys.readouterr().out

    return run


def row(said: str, name: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith(f"│ {name} ")]
    return line


def test_all_servers_and_the_goal(printed, serve):
    said = printed()
    assert "│ 11.00 " in row(said, "hubserve")
    assert "1.100 (1.100 to 1.100)" in row(said, "hubserve")
    for contender in serve.CONTENDERS:
        assert "2.000 (2.000 to 2.000)" in row(said, contender.name)
    assert "32 clients: 1.100 of the limit's CPU time (goal 1.03)" in said


def test_slices_in_turn(printed, serve):
    printed(clients="1,8", only="LitServe")
    one = [serve.OURS, serve.LIMIT, "LitServe", "LitServe", serve.LIMIT, serve.OURS]
    assert Constant.asked == [(name, 1) for name in one] + [(name, 8) for name in one]


def test_a_server_that_does_not_start_is_left_out(printed):
    said = printed(broken=("LitServe",))
    assert "LitServe" not in said
    assert "│ 20.00 " in row(said, "bare Starlette")


def test_without_ours_there_is_no_goal(printed):
    said = printed(broken=("hubserve",))
    assert "│ 20.00 " in row(said, "LitServe")
    assert "goal" not in said


def test_beside_an_earlier_version(printed, tmp_path):
    said = printed(before=tmp_path)
    assert "0.550 (0.550 to 0.550)" in row(said, "hubserve")
    assert "by that of before" in said


def test_the_limit_uses_batches_of_that_mean(serve, monkeypatch):
    import limit

    engine, sizes = Engine(small_package(), device="cpu"), []
    answer = engine.answer
    monkeypatch.setattr(engine, "answer", lambda images: sizes.append(len(images)) or answer(images))
    found = limit.measure(engine, [photo("chelsea")], threads=1, batch=2.5, seconds=0.2)
    assert sizes[:4] == [2, 3, 2, 3][: len(sizes)]
    assert found["images"] == sum(sizes)
    assert found["cpu"] > 0
    assert found["wall"] >= 0.2


ENDED = """
import sys, time
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from running import free_port, running
port = free_port()
folder = Path(sys.argv[3])
(folder / "readyz").touch()
(folder / "health").touch()
with running([sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], folder, port=port, cwd=folder) as server:
    print(server.process.pid, flush=True)
    time.sleep(60)
"""
"""A bench with one server, that of Python, which needs no time to start."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_bench_that_is_ended_ends_its_servers(number, tmp_path):
    command = [sys.executable, "-c", ENDED, str(BENCHMARKS), str(BENCHMARKS / "servers"), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
        server = int(bench.stdout.readline())
        bench.send_signal(number)
        assert bench.wait(30) == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_server_runs():
    """For a moment; what it reaches on a machine that runs tests says nothing."""
    pytest.importorskip("litserve", reason="litserve is not installed: scripts/setup bench")
    command = [sys.executable, str(BENCHMARKS / "serve.py"), "--seconds", "0.5", "--clients", "2", "--rounds", "1"]
    ran = subprocess.run([*command, "--model", "mobilenetv3-small-050"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "is not measured" not in ran.stderr
    assert ran.stdout.count("│") > 6 * 4
    assert "of the limit's CPU time" in ran.stdout
