"""The guard above a job: what it started ends with it, whatever it does, and its limits need no server."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubserve.background import BackgroundProcess
from hubserve.failure_reason_file import read_reserved
from hubserve.process_guard import SLACK_BYTES_PER_CORE
from hubserve.process_tree import descendants
from tests.waiting import until

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")

STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
folder = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = "import os, pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {}; "
sleep += "(pathlib.Path(sys.argv[1]) / str(os.getpid())).touch(); time.sleep(600)"
daemon = sleep.format("os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)")
subprocess.Popen([sys.executable, "-c", sleep.format("pass"), sys.argv[1]])
subprocess.Popen([sys.executable, "-c", sleep.format("os.setsid()"), sys.argv[1]])
subprocess.Popen([sys.executable, "-c", daemon, sys.argv[1]])
from hubserve.atomic import staged_file, staged_folder
with staged_file(folder / "half.bin") as one, staged_folder(folder, "new") as two:
    one.write_bytes(b"half"); (two / "x").write_bytes(b"half")
    (folder / str(os.getpid())).touch()
    time.sleep(600)
"""
"""Ignores SIGTERM, with a child, a child in a session of its own, a daemon without parent, and two unfinished outputs."""


@pytest.fixture
def process(tmp_path) -> BackgroundProcess:
    return BackgroundProcess(tmp_path / "lock", tmp_path / "group", tmp_path / "stop", tmp_path / "reason")


def start(process: BackgroundProcess, program: str, folder: Path, **limits: float) -> None:
    folder.mkdir(exist_ok=True)
    lock = process.take_lock()
    try:
        process.start([sys.executable, "-c", program, str(folder)], log=folder / "log", lock=lock, **limits)
    finally:
        os.close(lock)


def pids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("how", ["end_soon", "file", "kill", "guard killed"])
def test_within_five_seconds_nothing_is_left(process, tmp_path, how):
    folder = tmp_path / "work"
    start(process, STUBBORN, folder)
    until(lambda: len(pids(folder)) == 4)
    began = time.monotonic()
    if how == "end_soon":
        process.end_soon()
    elif how == "file":
        process.stop_file.touch()
    elif how == "kill":
        process.kill()
    else:
        # What a request to stop does where the guard does not run any more.
        os.kill(int(process.group_file.read_text()), signal.SIGSTOP)
        process.end_soon()
    assert process.ends_within(5.0)
    assert time.monotonic() - began < 5.0
    assert not [pid for pid in pids(folder) if alive(pid)]
    if how != "guard killed":
        assert sorted(path.name for path in folder.iterdir() if not path.name.isdigit()) == ["log"]


def test_time_is_limited_by_itself(process, tmp_path):
    start(process, "import time; time.sleep(600)", tmp_path / "work", seconds=1.0)
    until(lambda: not process.is_alive(), seconds=20)
    assert read_reserved(process.reason_file) == "it was ended after 1 s, the most that it may take"


def test_memory_of_all_processes_together_is_limited(process, tmp_path):
    """Four that have 60 MB each, of 150; each alone would be allowed."""
    child = "import time; x = bytearray(60_000_000); time.sleep(600)"
    program = (
        f"import subprocess, sys, time\nfor _ in range(4): subprocess.Popen([sys.executable, '-c', {child!r}])\ntime.sleep(600)"
    )
    start(process, program, tmp_path / "work", memory_mb=150)
    until(lambda: not process.is_alive(), seconds=30)
    assert read_reserved(process.reason_file).endswith("MB of memory, and it may have 150")


def test_one_process_cannot_ask_for_more(process, tmp_path):
    """It gets an error, before anything was allocated."""
    size = 200_000_000 + (os.cpu_count() or 1) * SLACK_BYTES_PER_CORE
    start(process, f"bytearray({size})", tmp_path / "work", memory_mb=200)
    until(lambda: not process.is_alive())
    assert "MemoryError" in (tmp_path / "work" / "log").read_text()


def test_tokens_stay_with_the_server(process, tmp_path, monkeypatch):
    monkeypatch.setenv("HUBSERVE_TOKEN", "a secret for tests")
    start(process, "import os; print(sorted(n for n in os.environ if 'TOKEN' in n))", tmp_path / "work")
    until(lambda: not process.is_alive())
    assert (tmp_path / "work" / "log").read_text().strip() == "[]"


def test_descendants_are_found_wherever_they_moved():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        assert child.pid in descendants(os.getpid())
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] != 0
    finally:
        child.kill()
        child.wait()
