"""The journal file: Optuna's format, few writes, and nothing lost by a crash."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from hubserve.errors import ExperimentError
from hubserve.experiment.storage import open_storage
from tests.experiment.killing import FORK

LABELS = 12


def new_study(path):
    return optuna.create_study(study_name="s", storage=open_storage(path))


def run_trial(study, value=1.0):
    trial = study.ask()
    for label in range(LABELS):
        trial.suggest_categorical(f"label{label}", ("a" * 300, "b", "c"))
    trial.set_user_attr("note", trial.number)
    study.tell(trial, value)
    return trial


def as_optuna_reads(path):
    return optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path)))).get_trials()


def work(path, trials, pipe):
    """Runs trials in a process of its own, and sends the number of each one that ended."""
    study = optuna.load_study(study_name="s", storage=open_storage(path))
    for _ in range(trials):
        pipe.send(run_trial(study).number)


def start_worker(path, trials):
    """The process, and the end of the pipe to receive from. Forked, it need not import torch."""
    receive, send = FORK.Pipe(duplex=False)
    worker = FORK.Process(target=work, args=(path, trials, send))
    worker.start()
    send.close()
    return worker, receive


def received(pipe):
    """All that is left in a pipe whose sender has ended."""
    found = []
    with contextlib.suppress(EOFError):
        while True:
            found.append(pipe.recv())
    return found


def test_optuna_reads_what_was_written(tmp_path):
    path = tmp_path / "new" / "folder" / "study.journal"
    study = new_study(path)
    for value in range(4):
        run_trial(study, value)
    assert as_optuna_reads(path) == study.get_trials() == optuna.load_study(study_name="s", storage=open_storage(path)).trials


def test_a_study_by_optuna_goes_on(tmp_path):
    path = tmp_path / "study.journal"
    other = optuna.create_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path))))
    run_trial(other)
    ours = optuna.load_study(study_name="s", storage=open_storage(path))
    run_trial(ours)
    run_trial(other)
    assert [trial.number for trial in ours.get_trials()] == [0, 1, 2]
    assert as_optuna_reads(path) == ours.get_trials() == other.get_trials()


def test_a_trial_is_three_writes(tmp_path, monkeypatch):
    study = new_study(tmp_path / "study.journal")
    written = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: written.append(data) or write(descriptor, data))
    trial = study.ask()
    for label in range(LABELS):
        trial.suggest_categorical(f"label{label}", ("a", "b"))
    study._storage.flush()
    trial.set_user_attr("note", 1)
    study.tell(trial, 1)
    assert [data.count(b"\n") for data in written if b"op_code" in data] == [1, LABELS, 2]


def test_a_running_trial_is_seen_after_flush(tmp_path):
    path = tmp_path / "study.journal"
    study = new_study(path)
    trial = study.ask()
    chosen = trial.suggest_categorical("a", (1, 2))
    assert as_optuna_reads(path)[0].params == {}
    assert study.get_trials()[0].params == {"a": chosen}
    study._storage.flush()
    assert as_optuna_reads(path)[0].params == {"a": chosen}
    study._storage.flush()
    assert as_optuna_reads(path) == study.get_trials()


def test_two_processes_at_once(tmp_path):
    path = tmp_path / "study.journal"
    study = new_study(path)
    worker, pipe = start_worker(path, 20)
    for _ in range(20):
        run_trial(study)
    ended = received(pipe)
    worker.join(60)
    assert worker.exitcode == 0
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(40))
    assert all(len(trial.params) == LABELS and trial.user_attrs["note"] == trial.number for trial in trials)
    assert len(ended) == 20
    assert set(ended) < set(range(40))
    assert as_optuna_reads(path) == trials


@pytest.mark.parametrize("kill", range(4))
def test_kill_at_any_moment_loses_no_finished_trial(tmp_path, kill):
    path = tmp_path / "study.journal"
    new_study(path)
    worker, pipe = start_worker(path, 10_000)
    ended = [pipe.recv() for _ in range(5)]
    time.sleep(0.013 * kill)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    ended += received(pipe)
    start = time.monotonic()
    study = optuna.load_study(study_name="s", storage=open_storage(path))
    run_trial(study)
    assert time.monotonic() - start < 20, "a killed writer holds nobody up"
    finished = [trial.number for trial in study.get_trials() if trial.state is TrialState.COMPLETE]
    assert set(ended) <= set(finished)
    assert len(finished) == len(set(finished)) <= len(ended) + 2
    assert as_optuna_reads(path) == study.get_trials()


@pytest.mark.parametrize("torn", [1, 9, 5000])
def test_a_torn_record_is_cut_off(tmp_path, torn):
    path = tmp_path / "study.journal"
    run_trial(new_study(path))
    whole = path.read_bytes()
    path.write_bytes(whole + (b'{"op_code":4,"x":"' + b"y" * 5000)[:torn])
    study = optuna.load_study(study_name="s", storage=open_storage(path))
    assert len(study.get_trials()) == 1
    run_trial(study)
    assert path.read_bytes().startswith(whole + b'{"op_code":4,"worker_id"')
    assert len(as_optuna_reads(path)) == 2
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


def test_a_full_disk_leaves_no_half_record(tmp_path, monkeypatch):
    path = tmp_path / "study.journal"
    study = new_study(path)
    trial = study.ask()
    trial.suggest_categorical("a", (1, 2))
    before, write = path.read_bytes(), os.write

    def full_after_ten_bytes(descriptor, data):
        if not data.startswith(b'{"op_code"'):
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:10])

    monkeypatch.setattr(os, "write", full_after_ten_bytes)
    with pytest.raises(OSError, match="No space left"):
        study.tell(trial, 1.0)
    assert path.read_bytes() == before
    monkeypatch.undo()
    study.tell(trial, 1.0)
    assert as_optuna_reads(path)[0].value == 1.0


def test_goes_to_another_process(tmp_path):
    study = new_study(tmp_path / "study.journal")
    trial = study.ask()
    trial.suggest_categorical("a", (1, 2))
    copy = pickle.loads(pickle.dumps(study))
    assert copy.get_trials() == study.get_trials()
    run_trial(copy)
    study.tell(trial, 0.5)
    assert len(study.get_trials()) == 2


@pytest.mark.parametrize("corrupt", [b"\0\0\0\0", b'{"op_code":', b"null", b"[1]", b"{}", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("opened_before", [False, True])
def test_a_corrupt_line_in_the_middle_is_named(tmp_path, corrupt, opened_before):
    path = tmp_path / "study of mine.journal"
    study = new_study(path)
    for _ in range(3):
        run_trial(study)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join(lines[:5]) + b"\n")
    storage = open_storage(path)
    optuna.load_study(study_name="s", storage=storage)
    path.write_bytes(b"\n".join([*lines[:6], corrupt, *lines[6:]]) + b"\n")
    message = r"study of mine\.journal, line 7 is corrupt, .*: head -n 6 '.*journal' > NEW_FILE"
    with pytest.raises(ExperimentError, match=message):
        optuna.load_study(study_name="s", storage=storage if opened_before else open_storage(path)).get_trials()
    path.write_bytes(b"\n".join(lines[:6]) + b"\n")
    assert optuna.load_study(study_name="s", storage=open_storage(path)).get_trials()
