"""Threads and processes follow the affinity and the CPU quota of a container, whatever chooses their number."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images import noise
from tests.stores import small_package

ROOT = Path(__file__).parent.parent
QUOTA = 'mount -t tmpfs tmpfs /sys/fs/cgroup && echo "100000 100000" > /sys/fs/cgroup/cpu.max && exec "$@"'


def counts(tmp_path: Path, prefix: list[str]) -> dict[str, int]:
    (tmp_path / "image.png").write_bytes(noise())
    program = [
        sys.executable,
        "-W",
        "ignore",
        ROOT / "tests" / "thread_counts.py",
        small_package().path,
        tmp_path / "image.png",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    ran = subprocess.run(
        [*prefix, *map(str, program)],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, int] = json.loads(ran.stdout.splitlines()[-1])
    return found


ONE = {
    "cores": 1,
    "torch": 1,
    "workers": 1,
    "calibration": 0,
    "run_onnx": 0,
    "evaluation": 1,
    "reading": 1,
    "network": 0,
}
"""What one core allows. A pool that decodes images is one thread beside the one that waits for it."""


def more_than_one_core(found: dict[str, int]) -> dict[str, int]:
    """The counts above those of ONE. Threads are counted while they run, so a busy machine may show fewer."""
    assert found.keys() == ONE.keys()
    return {name: count for name, count in found.items() if count > ONE[name]}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("taskset") is None, reason="needs taskset")
def test_one_core_by_affinity(tmp_path):
    assert more_than_one_core(counts(tmp_path, ["taskset", "-c", str(min(os.sched_getaffinity(0)))])) == {}


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_one_core_by_quota(tmp_path):
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine does not allow user and mount namespaces")
    assert more_than_one_core(counts(tmp_path, ["unshare", "-rm", "sh", "-c", QUOTA, "sh"])) == {}
