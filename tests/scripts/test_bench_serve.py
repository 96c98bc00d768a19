"""scripts/bench serve: what was measured is told, whatever becomes of the other servers."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "scripts" / "benchmarks"


@pytest.fixture
def serve(monkeypatch):
    """The bench as a module."""
    for folder in (BENCHMARKS, BENCHMARKS / "servers"):
        monkeypatch.syspath_prepend(str(folder))
    import serve

    yield serve
    for name in ("serve", "load", "photos", "running"):
        sys.modules.pop(name, None)


@pytest.fixture
def told(serve, monkeypatch, capsys):
    """What it prints where every server answers 100 requests a second and `broken` ones do not start."""

    def run(broken: dict[str, BaseException], **options: object) -> str:
        def measure(contender, package, folder, bodies, counts, seconds):
            if contender.name in broken:
                raise broken[contender.name]
            latencies = [float(i) for i in range(1, 101)]
            return [serve.Load(1.0, latencies, statuses=Counter({200: 100})) for _ in counts]

        monkeypatch.setattr(serve, "measure", measure)
        monkeypatch.setattr(serve, "measure_limit", lambda *_: 125.0)
        monkeypatch.setattr(serve, "pictures", lambda: [b""])
        monkeypatch.setattr(serve, "package_of", lambda model, folder: SimpleNamespace(path=folder))
        serve.main(clients="32", rounds=2, **options)
        return capsys.readouterr().out

    return run


def row(said: str, name: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith(f"│ {name} ")]
    return line


def test_all_servers_and_the_goals(told, serve):
    said = told({})
    for contender in serve.CONTENDERS:
        assert "│ 100 " in row(said, contender.name)
    assert "0.80 of the limit (goal 0.85)" in said
    assert "1.00 times LitServe (goal 1)" in said
    assert "1.00 times BentoML, tutorial (goal 2.5)" in said


def test_a_server_that_does_not_start_loses_nothing_of_the_others(told, serve):
    said = told({"LitServe": serve.DidNotStart("no module named litserve"), "bare Starlette": ConnectionRefusedError("gone")})
    assert "not measured" in row(said, "LitServe")
    assert "not measured" in row(said, "bare Starlette")
    assert "│ 100 " in row(said, "hubserve")
    assert "times BentoML, tutorial" in said
    assert "times LitServe" not in said


def test_without_ours_there_are_no_goals(told, serve):
    said = told({"hubserve": serve.DidNotStart("no port")})
    assert "│ 100 " in row(said, "LitServe")
    assert "goal" not in said


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_each_server_runs():
    """For a moment; what it reaches on a machine that runs tests says nothing."""
    pytest.importorskip("litserve", reason="litserve is not installed: scripts/setup bench")
    command = [sys.executable, str(BENCHMARKS / "serve.py"), "--seconds", "0.5", "--clients", "2", "--rounds", "1"]
    ran = subprocess.run([*command, "--model", "mobilenetv3-small-050"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "not measured" not in ran.stdout + ran.stderr
    assert "not 200" not in ran.stdout
    assert ran.stdout.count("│") > 6 * 4
