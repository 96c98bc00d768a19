"""Run folders: names that stay inside, lists in order, nothing half made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hubserve import jobs
from hubserve.errors import JobError, StorageError
from hubserve.jobs import Best, JobStatus, TrialRow
from hubserve.jobs.status import Closest
from tests.jobs.definitions import SMALLEST


def test_a_new_run(run, home):
    assert run.path.parent == home / "jobs"
    assert run.id.startswith("smallest-")
    assert run.definition() == SMALLEST
    status = jobs.read(run)
    assert (status.id, status.name, status.state, status.max_trials) == (run.id, "smallest", "queued", 3)
    assert jobs.find(run.id) == run == jobs.open_run(run.path)
    assert sorted(path.name for path in run.path.iterdir()) == [".number", "job.yaml", "reason", "status.json", "where"]
    assert run.where == Path.cwd()


def test_a_definition_as_data(home):
    data = {"name": "x", "space": {"name": "A"}, "data": {"name": "b"}, "strategy": {"name": "C"}}
    run = jobs.create(data, name="my job/../..")
    assert jobs.parse_job(run.definition(), where="it") == jobs.parse_job(json.dumps(data), where="it")
    assert run.path.parent == home / "jobs"
    assert jobs.read(run).name == "my job/../.."


@pytest.mark.parametrize("definition", ["name: x", "[1]", "{", {"name": object()}])
def test_what_is_no_job_leaves_nothing(definition, home):
    with pytest.raises(JobError):
        jobs.create(definition)
    assert not (home / "jobs").exists()


def test_newest_first(home):
    made = [jobs.create(SMALLEST, name=f"job {i}") for i in range(3)]
    assert [run.id for run in jobs.list_runs()] == [run.id for run in reversed(made)]
    assert [status.name for status in jobs.list_summaries()] == ["job 2", "job 1", "job 0"]


@pytest.mark.parametrize("bad", ["", ".", "..", "../jobs", "/etc", "a/b", "smallest\0", "x" * 200, ".new.abc"])
def test_an_id_stays_inside(bad, run):
    with pytest.raises(JobError, match="there is no job"):
        jobs.find(bad)


def test_an_unknown_id_names_the_near_ones(run):
    with pytest.raises(JobError, match=f"Did you mean {run.id}"):
        jobs.find(run.id[:-1])


def test_damaged_folders_are_left_out(run, home):
    (home / "jobs" / "empty").mkdir()
    broken = jobs.create(SMALLEST)
    (broken.path / "status.json").write_text("{")
    assert [status.id for status in jobs.list_summaries()] == [run.id]
    with pytest.raises(JobError, match=r"no readable status\.json"):
        jobs.read(broken)
    with pytest.raises(JobError, match=r"no readable status\.json"):
        jobs.open_run(home)


def test_pictures_by_name(run):
    (run.path / "plots").mkdir()
    (run.path / "plots" / "best.svg").write_text("<svg/>")
    (run.path / "secret.svg").write_text("")
    assert run.plots() == ["best"]
    assert run.plot("best").read_text() == "<svg/>"
    for name in ("bset", "../secret", "/etc/passwd"):
        with pytest.raises(JobError, match="has no plot"):
            run.plot(name)


def test_the_log_from_its_end(run):
    assert run.log_tail() == []
    (run.path / "log.txt").write_bytes(b"".join(b"%d\xff\n" % i for i in range(100)))
    assert run.log_tail(2) == ["98\ufffd", "99\ufffd"]


def test_a_home_that_cannot_be_written(monkeypatch):
    monkeypatch.setenv("HUBSERVE_HOME", "/proc/nothing")
    with pytest.raises(StorageError, match="HUBSERVE_HOME, BENTOML_HOME and TMPDIR name other folders"):
        jobs.create(SMALLEST)


def test_a_record_of_a_later_version_is_read(run):
    text = json.loads((run.path / "status.json").read_text())
    assert JobStatus.model_validate({**text, "what_comes_later": 1}) == run.written_status()


def test_a_message_with_a_file_name_that_is_no_utf_8_is_written(run):
    """Python holds such a byte as half of a surrogate pair, which JSON cannot hold."""
    status = jobs.read(run).model_copy(update={"error": "photos/\udcff\udce9.jpg is no image", "notes": ["\ud800", "d\u00e9"]})
    run.write_status(status)
    found = jobs.read(run)
    assert found.error == r"photos/\xff\xe9.jpg is no image"
    assert found.notes == [r"\ud800", "d\u00e9"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_measures_that_are_no_finite_numbers_are_left_out(run, value):
    """As JSON they would be null, and the next reader of the status would refuse it."""
    values = {"energy": value, "val_acc": 0.5}
    rows = [TrialRow(number=0, state="infeasible", values=values)]
    closest = Closest(number=0, values=values, arch={}, reason="energy = nan misses energy <= 1")
    best = Best(number=0, values=values, arch={})
    status = jobs.read(run).model_copy(update={"history": rows, "closest": closest, "best": best})
    run.write_status(status)
    found = jobs.read(run)
    assert [found.history[0].values, found.closest.values, found.best.values] == [{"val_acc": 0.5}] * 3
