"""Jobs as processes: real ones, really killed. The program is a stand-in for the search, all else is as in use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from hubserve import jobs
from hubserve.errors import JobError
from hubserve.jobs import Run
from tests.waiting import until


def holding(*body: str) -> str:
    """A program that is at work while it does `body`."""
    lines = ["run.write_status(run.written_status().model_copy(update={'state': 'running', 'phase': 'search'}))", *body]
    return "with jobs.hold(run):\n" + "".join(f"    {line}\n" for line in lines)


WAITS = holding("time.sleep(60)")
IGNORES = holding("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "(folder / 'deaf').touch()", "time.sleep(60)")
FINISHES = holding("run.write_status(run.written_status().model_copy(update={'state': 'done', 'published': 'a:b'}))")
WITH_A_WORKER = holding(
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])",
    "(folder / 'child').write_text(str(child.pid))",
    "child.wait()",
)


def pid_of(run: Run) -> int:
    return int((run.path / "pid").read_text())


@pytest.fixture
def waiting(run, starts):
    """A job that is at work until somebody ends it."""
    starts(WAITS)
    jobs.start(run)
    until(lambda: jobs.read(run).state == "running")
    yield run
    jobs.stop(run, grace_seconds=0)


def test_from_queued_to_done(run, starts):
    assert jobs.read(run).state == "queued"
    starts(FINISHES)
    jobs.start(run)
    until(lambda: jobs.read(run).state == "done")
    until(lambda: not jobs.is_running(run))
    assert jobs.read(run).published == "a:b"
    with pytest.raises(JobError, match="is done: it published a:b"):
        jobs.start(run)


def test_it_runs_from_the_first_moment(run, starts):
    """Before the process has even found its interpreter."""
    starts(WAITS)
    jobs.start(run)
    assert jobs.is_running(run)
    assert pid_of(run) > 0
    with pytest.raises(JobError, match="is running already"):
        jobs.start(run)
    jobs.stop(run, grace_seconds=0)


def test_it_has_a_session_of_its_own_and_a_log(waiting):
    assert os.getsid(pid_of(waiting)) == pid_of(waiting) != os.getsid(0)
    assert waiting.log_tail() == []


def test_it_survives_whoever_started_it(run, starts, tmp_path):
    """A server that is killed takes no job along; the next one sees it and can stop it."""
    starts(WAITS)
    starter = tmp_path / "starter.py"
    starter.write_text(
        "import os, signal, sys\nfrom hubserve import jobs\nfrom hubserve.jobs import process\n"
        f"process.COMMAND = {jobs.process.COMMAND!r}\n"
        f"jobs.start(jobs.find({run.id!r}))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, str(starter)]).returncode == -signal.SIGKILL
    until(lambda: jobs.read(run).state == "running")
    assert jobs.stop(run, grace_seconds=10).state == "stopped"


def test_stop_is_kind_first(waiting):
    started = time.monotonic()
    status = jobs.stop(waiting, grace_seconds=30)
    assert time.monotonic() - started < 20
    assert status.state == "stopped"
    assert f"hubserve search --run {waiting.path}" in status.error
    assert not jobs.is_running(waiting)


def test_stop_is_firm_then(run, starts):
    starts(IGNORES)
    jobs.start(run)
    until((run.path / "deaf").exists)
    assert jobs.request_stop(run).state == "stopping"
    assert jobs.is_running(run)
    assert jobs.stop(run, grace_seconds=0.2).state == "stopped"
    assert not jobs.is_running(run)


def test_stop_takes_the_workers_along(run, starts):
    starts(WITH_A_WORKER)
    jobs.start(run)
    until(lambda: (run.path / "child").is_file() and (run.path / "child").read_text() != "")
    child_pid = int((run.path / "child").read_text())
    jobs.stop(run, grace_seconds=0.1)
    until(lambda: not alive(child_pid))


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_job_that_was_killed_is_told_as_failed_and_goes_on(waiting, starts):
    os.kill(pid_of(waiting), signal.SIGKILL)
    until(lambda: not jobs.is_running(waiting))
    status = jobs.read(waiting)
    assert status.state == "failed"
    assert "vanished while at search" in status.error
    assert f"hubserve search --run {waiting.path}" in status.error
    starts(FINISHES)
    jobs.start(waiting)
    until(lambda: jobs.read(waiting).state == "done")


def test_a_program_that_falls_at_once_leaves_its_words_in_the_log(run, starts):
    starts("raise SystemExit('no such thing')")
    jobs.start(run)
    until(lambda: not jobs.is_running(run))
    assert jobs.read(run).state == "failed"
    assert run.log_tail() == ["no such thing"]


def test_a_number_that_another_process_bears_is_not_killed(run):
    """The file names a process that is not the job: it is nobody's lock."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        (run.path / "pid").write_text(f"{other.pid}\n")
        assert not jobs.is_running(run)
        assert jobs.stop(run, grace_seconds=0).state == "failed"
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_stop_before_the_start(run, starts):
    assert jobs.stop(run, grace_seconds=0).state == "stopped"
    starts(FINISHES)
    jobs.start(run)
    until(lambda: jobs.read(run).state == "done")


def test_stopping_what_is_over_changes_nothing(run):
    run.write_status(run.written_status().model_copy(update={"state": "done"}))
    before = jobs.read(run)
    assert jobs.stop(run) == before == jobs.request_stop(run)
    assert not (run.path / "stop").exists()


def test_one_process_at_a_time(run):
    with jobs.hold(run):
        assert jobs.is_running(run)
        assert pid_of(run) == os.getpid()
        with pytest.raises(JobError, match="is running already"), jobs.hold(run):
            pytest.fail("two hold it")
        with pytest.raises(JobError, match="is running; stop it first"):
            jobs.delete(run)
    assert not jobs.is_running(run)
    jobs.delete(run)
    assert jobs.list_runs() == []


def test_an_interrupt_is_a_stop_however_early_it_comes(run):
    run.write_status(run.written_status().model_copy(update={"state": "running", "phase": "search"}))
    with pytest.raises(KeyboardInterrupt), jobs.hold(run):
        raise KeyboardInterrupt
    status = jobs.read(run)
    assert status.state == "stopped"
    assert f"`hubserve search --run {run.path}` goes on where it was" in status.error


def test_those_who_look_do_not_stand_in_the_way(run):
    """A look takes the lock for a moment; whoever wants to begin waits for that."""
    looker = subprocess.Popen(
        [sys.executable, "-c", f"from hubserve import jobs\nwhile True: jobs.is_running(jobs.find({run.id!r}))"]
    )
    try:
        with jobs.hold(run):
            pass
        time.sleep(0.5)
        for _ in range(50):
            with jobs.hold(run):
                assert jobs.is_running(run)
    finally:
        looker.kill()
        looker.wait()


def test_a_process_that_cannot_start(run, monkeypatch):
    monkeypatch.setattr(jobs.process, "COMMAND", ("/no/such/python",))
    with pytest.raises(JobError, match=f"cannot start {run.id}: No such file"):
        jobs.start(run)
    assert not jobs.is_running(run)


def test_a_status_is_whole_whenever_it_is_read(run):
    """Another process rewrites a long status over and over; every read is one of its records."""
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from hubserve import jobs\n"
            f"run = jobs.find({run.id!r}); status = run.written_status()\n"
            "for i in range(100000): run.write_status(status.model_copy(update={'message': str(i) * 2000, 'trials': i}))",
        ]
    )
    try:
        until(lambda: run.written_status().trials > 0)
        for _ in range(200):
            status = run.written_status()
            assert status.message == str(status.trials) * 2000
    finally:
        writer.kill()
        writer.wait()
    assert status.updated < datetime.now(UTC)


def test_it_is_nobodys_child(run, starts):
    """Who ends a server with all descendants ends no job."""
    starts(WAITS)
    jobs.start(run)
    until(lambda: jobs.read(run).state == "running")
    with open(f"/proc/{pid_of(run)}/stat") as file:
        parent = int(file.read().rpartition(")")[2].split()[1])
    assert parent != os.getpid()
    assert jobs.stop(run, grace_seconds=10).state == "stopped"


def test_a_stop_before_it_noted_its_number(run, starts):
    """Until then the file has the number of the group that the shell led."""
    starts("time.sleep(60)\n" + WAITS)
    jobs.start(run)
    assert jobs.request_stop(run).state in ("stopping", "stopped")
    until(lambda: not jobs.is_running(run))
    assert jobs.read(run).state == "stopped"


def test_a_stop_that_no_signal_told(run, starts):
    starts("time.sleep(1)\n" + WAITS)
    jobs.start(run)
    (run.path / "stop").touch()
    until(lambda: not jobs.is_running(run))
    assert jobs.read(run).state == "stopped"
