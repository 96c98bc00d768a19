"""Background processes: alive by their lock, no descendants of ours, stopped alone or with their group."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hubserve.background import BackgroundProcess
from tests.waiting import until

SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


def start(process: BackgroundProcess, command: list[str], folder, **options) -> int:
    """Starts the command and returns its process id."""
    lock = process.take_lock()
    process.start(command, log=folder / "log", lock=lock, **options)
    os.close(lock)
    # At first it holds the id of the group, whose leader has ended, and then that of the guard.
    until(lambda: not process.is_alive() or psutil.pid_exists(int(process.group_file.read_text())))
    return int(process.group_file.read_text())


@pytest.fixture
def process(tmp_path):
    found = BackgroundProcess(tmp_path / "lock", tmp_path / "group", tmp_path / "stop", tmp_path / "reason")
    yield found
    found.kill_after(0)


def test_it_is_alive_from_start_to_end(process, tmp_path):
    assert not process.is_alive()
    start(process, [sys.executable, "-c", "input()"], tmp_path)  # Its input is empty, so it fails at once.
    assert process.ends_within(10)
    assert not process.is_alive()
    assert "EOFError" in (tmp_path / "log").read_text()


def test_it_is_no_descendant_and_ignores_interrupts(process, tmp_path):
    pid = start(process, SLEEPS, tmp_path)
    assert process.is_alive()
    assert pid not in [child.pid for child in psutil.Process().children(recursive=True)]
    os.kill(pid, signal.SIGINT)
    assert not process.ends_within(0.5)
    process.request_stop()
    assert process.ends_within(10)


def test_only_one_process_holds_the_lock(process, tmp_path):
    start(process, SLEEPS, tmp_path)
    with pytest.raises(BlockingIOError):
        process.take_lock()


def test_environment_and_working_folder(process, tmp_path):
    environment = {"MARK": "m1", "PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", "import os; print(os.getcwd(), os.environ['MARK'], 'HOME' in os.environ)"]
    start(process, command, tmp_path, cwd=tmp_path, environment=environment)
    assert process.ends_within(10)
    assert (tmp_path / "log").read_text() == f"{tmp_path} m1 False\n"


def test_a_command_that_does_not_exist(process, tmp_path):
    lock = process.take_lock()
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        process.start(["no-such-program"], log=tmp_path / "log", lock=lock)
    os.close(lock)
    assert not process.is_alive()


def test_a_process_that_ignores_sigterm_is_killed_with_its_children(process, tmp_path):
    program = (
        "import signal, subprocess, sys, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(child.pid)); child.wait()"
    )
    start(process, [sys.executable, "-c", program], tmp_path)
    end = time.monotonic() + 10
    while not (tmp_path / "child").is_file() or not (tmp_path / "child").read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    child = psutil.Process(int((tmp_path / "child").read_text()))
    process.request_stop()
    assert process.kill_after(0.3)
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_reused_process_id_gets_no_signal(process, tmp_path):
    """The id of an ended process may belong to another one now: without the lock, none is sent."""
    with subprocess.Popen(SLEEPS) as other:
        process.lock_file.touch()
        process.group_file.write_text(str(other.pid))
        process.request_stop()
        process.kill()
        time.sleep(0.1)
        assert other.poll() is None
        other.kill()
