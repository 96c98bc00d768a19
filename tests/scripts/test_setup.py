"""scripts/setup and scripts/bench: what they install, and when; pip itself is not asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PYTHON = """#!/usr/bin/env bash
echo "$@" >>"$PWD/asked"
[ ! -f "$PWD/broken" ]
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A fresh clone whose python only notes what it was asked to do, and fails while there is a file named broken."""
    for name in ("scripts/setup", "scripts/bench", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    (tmp_path / "scripts" / "benchmarks").mkdir()
    (tmp_path / "scripts" / "benchmarks" / "serve.py").write_text('"""What a bench measures."""\n')
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


def run(checkout: Path, *command: str) -> int:
    return subprocess.run(["bash", *command], cwd=checkout, env={**os.environ, "PWD": str(checkout)}).returncode


def asked(checkout: Path) -> list[str]:
    """What python was asked since the last time."""
    notes = checkout / "asked"
    lines = notes.read_text().splitlines() if notes.exists() else []
    notes.unlink(missing_ok=True)
    return lines


def installs(checkout: Path) -> list[str]:
    """The extras among it."""
    return [line.split("-e ")[1].split()[0] for line in asked(checkout) if line.startswith("-m pip install")]


def test_once_and_again_when_a_dependency_changes(checkout):
    assert run(checkout, "scripts/setup") == 0
    assert installs(checkout) == [".[lite0]"]
    assert run(checkout, "scripts/setup") == 0
    assert installs(checkout) == []
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("\n")
    assert run(checkout, "scripts/setup") == 0
    assert installs(checkout) == [".[lite0]"]


def test_extras_are_installed_beside_what_is_there(checkout):
    assert run(checkout, "scripts/setup") == 0
    assert run(checkout, "scripts/setup", "dev") == 0
    assert installs(checkout) == [".[lite0]", ".[dev]"]


def test_the_extra_litert_gets_the_pydantic_that_it_needs(checkout):
    assert run(checkout, "scripts/setup", "litert") == 0
    (line,) = asked(checkout)
    assert line.endswith("-e .[litert] -c .venv/constraints.txt")
    tested = (checkout / "constraints.txt").read_text().splitlines()
    assert (checkout / ".venv" / "constraints.txt").read_text().splitlines() == [
        name for name in tested if not name.startswith("pydantic")
    ]


def test_a_bench_on_a_fresh_clone_installs_what_it_compares_with(checkout):
    assert run(checkout, "scripts/bench", "serve", "--rounds", "1") == 0
    pip_dev, pip_bench, bench = asked(checkout)
    assert ".[dev]" in pip_dev
    assert ".[bench]" in pip_bench
    assert "-c constraints.txt" in pip_bench
    assert bench == "scripts/benchmarks/serve.py --rounds 1"
    assert run(checkout, "scripts/bench", "serve") == 0
    assert asked(checkout) == ["scripts/benchmarks/serve.py"]


def test_a_checkout_that_ran_its_tests_before(checkout):
    run(checkout, "scripts/setup", "dev")
    asked(checkout)
    run(checkout, "scripts/bench", "serve")
    assert installs(checkout) == [".[bench]"]


def test_what_failed_is_tried_again(checkout):
    (checkout / "broken").touch()
    assert run(checkout, "scripts/bench", "serve") != 0
    assert installs(checkout) == [".[dev]"]
    (checkout / "broken").unlink()
    assert run(checkout, "scripts/bench", "serve") == 0
    assert installs(checkout) == [".[dev]", ".[bench]"]
