"""`./scripts/bench spaces`: every space of the hub has a row, with or without a figure of NNI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hubserve.hub import SPACES

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--before", str(ROOT), "--rounds", "1")], ids=["nni", "before"])
def test_every_space_has_a_row(options: tuple[str, ...]) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "benchmarks" / "spaces.py"), "--archs", "1", *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr[-2000:]
    rows = {words[1]: words for words in map(str.split, ran.stdout.splitlines()) if len(words) > 1 and words[1] in SPACES}
    assert rows.keys() == SPACES.keys()
    assert "x" in "".join(rows["DARTS"]) or rows["DARTS"][-2].replace(".", "").isdigit()
