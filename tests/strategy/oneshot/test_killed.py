"""kill -9: a run that is started again comes to the same end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hubserve.strategy.oneshot.checkpoint import CHECKPOINT
from tests.strategy.oneshot.data import Noise
from tests.strategy.oneshot.test_resume import STRATEGIES
from tests.supernet.spaces import Small

CHILD = """
import os, signal, sys
from pathlib import Path
import torch
from tests.strategy.oneshot.test_killed import run

name, folder, moment, threads = sys.argv[1:]
torch.set_num_threads(int(threads))

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "while a checkpoint is written":
    rename, calls = os.rename, []
    def replace(source, target):
        calls.append(target)
        return kill() if len(calls) == 2 else rename(source, target)
    os.rename = replace
run(name, Path(folder), lambda row: row["step"] == 3 and moment == "in a step" and kill())
"""


def run(name, folder, on_step=None):
    """Three epochs of two steps."""
    return STRATEGIES[name]().run(Small(), Noise(epochs=3), seed=3, folder=folder, on_step=on_step, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "moment"),
    [
        pytest.param("RandomOneShot", "in a step", marks=pytest.mark.slow),
        ("DARTS", "in a step"),
        ("RandomOneShot", "while a checkpoint is written"),
    ],
)
def test_comes_to_the_end_of_a_run_left_alone(name, moment, tmp_path):
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", CHILD, name, str(tmp_path / "killed"), moment, str(torch.get_num_threads())]
    killed = subprocess.run(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / CHECKPOINT).exists()

    steps = []
    resumed, alone = run(name, tmp_path / "killed", steps.append), run(name, tmp_path / "alone")
    assert [row["step"] for row in steps] == [2, 3, 4, 5]
    assert resumed.history == alone.history
    assert resumed.arch == alone.arch
    expected = alone.supernet.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in resumed.supernet.state_dict().items())
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [CHECKPOINT]
