"""`hubserve search`, `jobs` and `plot`: what they say, how they end, and a job that is really killed and goes on."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hubserve import jobs
from hubserve.evaluator import Classification
from hubserve.jobs import Best, ObjectiveInfo, Run, TrialRow
from hubserve.pipeline.run import find_draw
from tests.jobs.definitions import SMALLEST
from tests.pipeline.definitions import short
from tests.waiting import until


@pytest.fixture(autouse=True)
def jobs_home(home, tmp_path, monkeypatch) -> Path:
    """Runs, and the store for processes of their own."""
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BENTOML_HOME", str(home))
    return tmp_path / "home"


@pytest.fixture
def write(tmp_path):
    def file(text: str) -> Path:
        (tmp_path / "job.yaml").write_text(text)
        return tmp_path / "job.yaml"

    return file


@pytest.fixture
def searched() -> Run:
    """A job with a history, which nobody ran."""
    run = jobs.create(SMALLEST)
    rows = [TrialRow(number=i, values={"val_acc": 0.5 + i / 10, "params": 100.0 + i}, state="complete") for i in range(3)]
    best = Best(number=2, values=rows[2].values, arch={"op": "conv"})
    status = run.written_status()
    objectives = [ObjectiveInfo(name="val_acc", direction="maximize")]
    run.write_status(
        status.model_copy(update={"state": "done", "history": rows, "best": best, "objectives": objectives, "test_acc": 0.625})
    )
    return run


def in_background(*arguments: object) -> subprocess.Popen[str]:
    """The command in a process of its own, its output kept."""
    command = [sys.executable, "-m", "hubserve", *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def test_lists_what_lies_ready(hubserve):
    rows = {row["name"]: row for row in hubserve("search", "--json").json()}
    assert "digits_quickstart" in rows
    assert "handwritten digits" in rows["digits_quickstart"]["summary"]
    assert "digits_quickstart" in hubserve("search").fine()


def test_check_says_what_it_would_do(hubserve):
    found = hubserve("search", "digits_quickstart", "--check", "--json").json()
    assert (found["classes"], found["published_as"], found["job"]["budget"]["trials"]) == (10, "digits", 12)
    assert "15,625 archs" in found["space"]
    assert jobs.list_runs() == []


@pytest.mark.parametrize(
    ("job", "kind", "message"),
    [
        ("digits_quickstar", "JobNotFoundError", "Did you mean digits_quickstart"),
        ("none.yaml", "JobError", "cannot read the job none.yaml"),
        ("cifar10", "JobError", "data: the data set 'cifar10' needs its folder"),
    ],
)
def test_what_cannot_run_ends_with_2_and_leaves_no_folder(hubserve, job, kind, message):
    assert message in hubserve("search", job).refused(kind)
    assert jobs.list_runs() == []


UNUSABLE_DATA = short(data={"name": "digits", "settings": {"size": 18}})


def test_data_that_cannot_be_used_leave_no_folder_in_the_foreground(hubserve, write):
    said = hubserve("search", write(UNUSABLE_DATA)).refused("JobError")
    assert "data: NasBench201 does not take images of 18 pixels" in said
    assert jobs.list_runs() == []


@pytest.mark.slow
def test_data_that_cannot_be_used_leave_a_refused_run_in_the_background(hubserve, write):
    run = jobs.find(hubserve("search", write(UNUSABLE_DATA), "--detach").fine().strip())
    until(lambda: jobs.read(run).state in jobs.FINAL, seconds=120)
    status = hubserve("jobs", run.id, "--json").json()
    assert (status["state"], status["phase"]) == ("refused", None)
    assert "does not take images of 18 pixels" in status["error"]


def test_a_wrong_name_leaves_no_folder_in_the_background_either(hubserve, write):
    said = hubserve("search", write(short(strategy={"name": "Randon"})), "--detach").refused("JobError")
    assert "Did you mean Random" in said
    assert jobs.list_runs() == []


def test_a_job_is_parsed_resolved_and_loaded_once(hubserve, write, monkeypatch):
    counts: Counter[str] = Counter()

    def count(place: str) -> None:
        module, _, name = place.rpartition(".")
        function = getattr(importlib.import_module(module), name)

        def counted(*arguments: Any, **more: Any) -> Any:
            counts[name] += 1
            return function(*arguments, **more)

        monkeypatch.setattr(place, counted)

    for place in (
        "hubserve.jobs.parse_job",
        "hubserve.jobs.run_folder.parse_job",
        "hubserve.pipeline.resolve_search.load_search_data",
        "hubserve.pipeline.resolve_search.check_search",
        "hubserve.pipeline.tasks.image_task.complexity",
    ):
        count(place)
    made = Classification.__init__

    def counted_evaluator(self: Classification, *arguments: Any, **more: Any) -> None:
        counts["Classification"] += 1
        made(self, *arguments, **more)

    monkeypatch.setattr(Classification, "__init__", counted_evaluator)
    job = write(short(budget={"trials": 1}, retrain={"epochs": 1}))
    assert json.loads(hubserve("search", job, "--json").out)["state"] == "done"
    # Three evaluators: one for each recipe, and one that scores the test part.
    once = dict.fromkeys(("parse_job", "load_search_data", "check_search", "complexity"), 1)
    assert counts == {**once, "Classification": 3}


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_what_does_not_go_together_is_told_before_the_start(hubserve, write, options):
    job = write(short(strategy={"name": "DARTS"}, budget={}, executor={"kind": "processes"}))
    assert "executor.kind = processes: DARTS trains one supernet" in hubserve("search", job, *options).refused("JobError")
    assert jobs.list_runs() == []


def test_options_that_do_not_go_together(hubserve, searched):
    assert "--run" in hubserve("search", "digits_quickstart", "--run", searched.path).refused("JobError")
    assert "name the job" in hubserve("jobs", "--stop").refused("JobError")
    said = hubserve("search", "digits_quickstart", "--resume").refused("JobNotFoundError")
    assert "no run of digits_quickstart to resume" in said


def test_nothing_feasible_ends_with_3(hubserve, write):
    job = write(short(constraints={"params": 100}, budget={"trials": 2, "seconds": 1.0}))
    said = hubserve("search", job, "--json")
    assert said.code == 3
    assert "misses params <= 100" in said.err
    status = json.loads(said.out)
    assert (status["state"], status["published"]) == ("failed", None)


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_publishes_once(hubserve, write):
    """kill -9 during the search; then Ctrl-C; then to the end. No finished trial is lost or done twice."""
    definition = short(budget={"trials": 10}, publish={"formats": ["onnx"], "profile_seconds": 0.5})
    process = in_background("search", write(definition))
    until(lambda: bool(jobs.list_runs()) and jobs.read(jobs.list_runs()[0]).trials >= 1, seconds=120)
    process.kill()
    process.communicate()
    (run,) = jobs.list_runs()
    killed = jobs.read(run)
    assert killed.state == "failed"
    assert "vanished while at search" in killed.error
    first = [row for row in killed.history if row.state == "complete"]

    process = in_background("search", "--run", run.path)
    until(lambda: jobs.read(run).state != "failed" and jobs.read(run).trials > killed.trials, seconds=120)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    if process.returncode != 0:  # It may have ended just before.
        assert process.returncode == 130
        assert f"`hubserve search --run {run.path}` goes on where it was" in errors
        assert jobs.read(run).state == "stopped"

    done = hubserve("search", "--resume", write(definition), "--json") if process.returncode else None
    status = jobs.read(run)
    assert done is None or json.loads(done.out)["id"] == run.id
    assert (status.state, status.trials) == ("done", 10)
    assert [row.number for row in status.history] == list(range(len(status.history)))
    again = {row.number: row.values for row in status.history}
    assert all(again[row.number] == row.values for row in first)
    assert [row["tag"] for row in hubserve("models", "--json").json()["store"]] == [status.published]


def test_in_the_background_and_stopped(hubserve, write):
    job_id = hubserve("search", write(short(recipe={"epochs": 500})), "--detach").fine().strip()
    run = jobs.find(job_id)
    until(lambda: jobs.read(run).phase == "search", seconds=120)
    listed = {row["id"]: row for row in hubserve("jobs", "--json").json()}
    assert listed[job_id]["state"] == "running"
    stopped = hubserve("jobs", job_id, "--stop", "--json").json()
    assert stopped["state"] == "stopped"
    assert "goes on where it was" in stopped["error"]
    assert not jobs.is_running(run)
    assert any("searching" in line for line in hubserve("jobs", job_id, "--log", "50").fine().splitlines())
    assert hubserve("jobs", job_id, "--delete").fine() == f"deleted {job_id}\n"
    assert jobs.list_runs() == []


def test_a_job_as_people_read_it(hubserve, searched):
    said = hubserve("jobs", searched.id).fine()
    for text in (searched.id, "done", "val_acc 0.7000  params 102", "op = conv", "test_acc", "0.6250", str(searched.path)):
        assert text in said
    assert hubserve("jobs", searched.id, "--json").json()["test_acc"] == 0.625
    assert [row["test_acc"] for row in hubserve("jobs", "--json").json()] == [0.625]
    assert searched.id in hubserve("jobs").fine()
    assert "Did you mean" in hubserve("jobs", searched.id[:-1]).refused("JobNotFoundError")


def test_pictures(hubserve, searched, tmp_path):
    paths = hubserve("plot", searched.id, "--json").json()
    assert paths == [str(searched.path / "plots" / f"{name}.svg") for name in ("best", "pareto")]
    assert searched.plots() == ["best", "pareto"]
    (png,) = hubserve("plot", searched.path, "--plot", "best", "--format", "png", "--out", tmp_path / "out", "--json").json()
    assert Path(png).read_bytes().startswith(b"\x89PNG")
    assert "no plot 'worst'" in hubserve("plot", searched.id, "--plot", "worst").refused("ExperimentError")
    assert "nothing to draw yet" in hubserve("plot", jobs.create(SMALLEST).id).refused("JobError")


def test_without_the_extra_there_are_no_pictures(hubserve, searched, without_plots):
    said = hubserve("plot", searched.id).refused("MissingExtraError")
    assert said == "drawing needs matplotlib: pip install 'hubserve[plots]'"
    assert searched.plots() == []
    assert find_draw() is None
