"""Jobs and exports over HTTP: what they may reach, how they are ended, and how much of them an answer holds."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
import yaml
from typer.testing import CliRunner

from hubserve import jobs
from hubserve.cli.main import app
from hubserve.errors import JobError
from hubserve.jobs import JobLimits, TrialRow
from hubserve.service import exports
from hubserve.service.definition_checker import _ask_worker
from hubserve.service.job_and_export_limits import export_limits
from hubserve.service.settings import ServiceSettings
from hubserve.workers import check
from tests.jobs.definitions import TINY
from tests.own_modules import JOB, write_package
from tests.stores import service_over
from tests.waiting import until

TOKEN = "secret-of-the-tests"
EDGES = ("cell/0_1", "cell/0_2", "cell/1_2", "cell/0_3", "cell/1_3", "cell/2_3")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("bentoml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUBSERVE_TOKEN", TOKEN)
        patch.setenv("HUBSERVE_JOB_WORKERS", "2")
        patch.setenv("HUBSERVE_HOME", str(tmp_path_factory.mktemp("home")))
        with service_over(home) as url:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            with httpx2.Client(base_url=url, timeout=60, headers=headers) as client:
                yield client


def refused(client: httpx2.Client, **changes: object) -> str:
    answer = client.post("/search_jobs", json={"definition": {**TINY, **changes}})
    assert answer.status_code == 422, answer.text
    assert client.get("/search_jobs").json() == []
    return str(answer.json()["error"]["message"])


def test_a_definition_is_held_to_the_limits_before_anything_starts(client, tmp_path):
    assert "executor.address" in refused(client, executor={"kind": "ray", "address": "ray://192.0.2.1:10001"})
    assert "2 that this server allows" in refused(client, executor={"kind": "processes", "workers": 4096})
    folders = [{"name": "folder", "folder": str(path)} for path in ("/etc", "/nosuch", tmp_path, "../../../etc", "/dev/zero")]
    said = {refused(client, data=folder) for folder in folders}
    assert len(said) == 1
    assert "HUBSERVE_DATA_ROOTS" in said.pop()
    assert "latency.table" in refused(client, latency={"table": "/dev/zero"})
    assert "characters" in refused(client, strategy={"name": "Random", "arguments": {f"a{i}": "x" * 100 for i in range(600)}})


def test_code_that_hubserve_does_not_have_is_refused(client):
    """Unless the operator allows it: importing a module runs it."""
    assert "HUBSERVE_ALLOW_IMPORT_PATHS=1" in refused(client, space={"name": "mypkg.spaces:Small"})
    assert "HUBSERVE_ALLOW_IMPORT_PATHS=1" in refused(client, evaluator={"name": "os:system"}, retrain={"epochs": 1})


@pytest.mark.parametrize("allowed", [False, True])
def test_a_space_of_an_export_is_held_to_the_same(tmp_path, monkeypatch, allowed):
    write_package(tmp_path, "exported_over_http")
    monkeypatch.syspath_prepend(tmp_path)
    limits = export_limits(ServiceSettings(allow_import_paths=allowed)).model_dump()
    arch = {"width": 8, "kernel": 3}
    found = check.answer({"space": "exported_over_http.spaces:Small", "settings": {}, "arch": arch, "limits": limits})
    assert found == {} if allowed else "HUBSERVE_ALLOW_IMPORT_PATHS=1" in found["message"]
    assert ("exported_over_http" in sys.modules) is allowed


CHANGES = [
    ({"data": {"name": "digits", "settings": {"size": "16", "augment": "false", "seed": "3"}}}, None),
    ({"data": {"name": "digits", "settings": {"size": "x16"}}}, "size = 'x16'"),
    ({"data": {"name": "digits", "settings": {"augment": "fasle"}}}, "augment = 'fasle'"),
    ({"data": {"name": "digits", "settings": {"seed": 1.5}}}, "seed = 1.5"),
    ({"data": {"name": "digits", "settings": {"size": "99999"}}}, "size: 99,999.0 is more than the"),
    ({"strategy": {"name": "RegularizedEvolution", "arguments": {"population_size": "8"}}}, None),
    (
        {"strategy": {"name": "RegularizedEvolution", "arguments": {"population_size": "1e-2"}}},
        "strategy.arguments.population_size",
    ),
    ({"strategy": {"name": "TPE", "arguments": {"multivariate": "maybe"}}}, "strategy.arguments.multivariate"),
    (
        {"strategy": {"name": "RegularizedEvolution", "arguments": {"population_size": True}}},
        "strategy.arguments.population_size",
    ),
    ({"space": {"name": "NasBench201", "settings": {"stem_out_channels": "16"}}}, None),
    ({"space": {"name": "NasBench201", "settings": {"stem_out_channels": "1e-2"}}}, "stem_out_channels"),
    ({"space": {"name": "NasBench201", "settings": {"stem_out_channels": [16]}}}, "stem_out_channels"),
]
"""Keys of a definition, and what the message of the refusal has; None for those that are taken."""


@pytest.mark.parametrize(("changes", "says"), CHANGES)
def test_what_is_not_typed_in_a_definition_is_typed_by_the_signature(changes, says):
    limits = JobLimits(roots=(Path("/nosuch"),), image_size=256)
    try:
        jobs.check_limits(jobs.parse_mapping({**TINY, **changes}, where="it"), limits)
        found = check.answer({"job": {**TINY, **changes}, "limits": limits.model_dump(mode="json", exclude_none=True)})
    except JobError as error:
        found = {"message": str(error)}
    assert found == {} if says is None else says in found["message"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_is_refused_before_there_is_a_folder_or_runs_as_it_was_typed(client, tmp_path):
    for changes, says in [(changes, says) for changes, says in CHANGES if says is not None][:4]:
        assert says in refused(client, **changes)
    typed = {
        "space": {"name": "NasBench201", "settings": {"stem_out_channels": "4", "num_modules_per_stack": "1"}},
        "data": {"name": "digits", "settings": {"size": "16", "augment": "false"}},
        "recipe": {"epochs": 1},
        "publish": None,
    }
    started = client.post("/jobs", json={"definition": {**TINY, **typed}})
    assert started.status_code == 202, started.text
    place = f"/jobs/{started.json()['id']}"
    until(lambda: client.get(place).json()["state"] not in ("queued", "running"), seconds=240)
    assert client.get(place).json()["state"] == "done", client.get(place).json()


@pytest.mark.slow
def test_it_is_imported_where_the_operator_allows_it(tmp_path, monkeypatch):
    """The module is one of the server's own: its PYTHONPATH names the folder."""
    folder = write_package(tmp_path / "code")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("HUBSERVE_TOKEN", TOKEN)
    monkeypatch.setenv("HUBSERVE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HUBSERVE_ALLOW_IMPORT_PATHS", "1")
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with service_over(tmp_path) as url, httpx2.Client(base_url=url, timeout=240, headers=headers) as client:
        definition = {**yaml.safe_load(JOB), "publish": None}
        started = client.post("/jobs", json={"definition": definition})
        assert started.status_code == 202, started.text
        place = f"/jobs/{started.json()['id']}"
        until(lambda: client.get(place).json()["state"] not in ("queued", "running"), seconds=240)
        assert client.get(place).json()["state"] == "done", client.get(place).json()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"num_modules_per_stack": 100_000}, {"stem_out_channels": 100_000}])
def test_a_network_that_is_too_large_is_not_built(settings):
    """By the check's process, which has limits of its own; 100,000 modules outlived a restart as an export before."""
    limits = {"modules": 20_000, "parameters": 10**9, "seconds": 60, "memory_mb": 1000}
    request = {"space": "NasBench201", "settings": settings, "arch": dict.fromkeys(EDGES, "conv_3x3"), "limits": limits}
    answer = _ask_worker(json.dumps(request))
    assert "more than the" in answer["message"], "its seconds or its memory ended it"


@pytest.mark.slow
def test_one_hung_export_can_be_stopped(client, monkeypatch, tmp_path):
    """Its process ignores SIGTERM; the next export may start 5 s later, and the server could have been started again."""
    (tmp_path / "hangs.py").write_text(
        "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('hangs', flush=True)\ntime.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    monkeypatch.setattr(exports, "WORKER", "hangs")
    answer = client.post("/exports", json={"model": "efficientnet-lite0"})
    assert answer.status_code == 202, answer.text
    place = f"/exports/{answer.json()['id']}"
    folder = exports.home.home() / place[1:]
    until(lambda: "hangs" in (folder / "log.txt").read_text())
    assert client.post("/exports", json={"model": "efficientnet-lite0"}).status_code == 503
    began = time.monotonic()
    assert client.delete(place).json()["state"] == "stopping"
    until(lambda: client.get(place).json()["state"] == "stopped", seconds=10)
    assert time.monotonic() - began < 60
    assert client.delete(place).json()["state"] == "stopped"
    assert client.delete("/exports/20200101-000000-00000000").status_code == 404
    monkeypatch.setenv("HUBSERVE_EXPORT_SECONDS", "1")
    limits = exports.ExportLimits(seconds=1.0, memory_mb=1000, modules=1000, parameters=1000)
    hung = exports.Exports(1, limits).start(exports.ExportRequest(model="efficientnet-lite0"))
    until(lambda: client.get(f"/exports/{hung.id}").json()["state"] == "failed", seconds=20)
    assert "ended after 1 s" in client.get(f"/exports/{hung.id}").json()["error"]


def test_a_search_is_ended_within_five_seconds(client, monkeypatch, tmp_path):
    """Also one whose process ignores SIGTERM, and whose child left its group."""
    program = tmp_path / "stubborn.py"
    program.write_text(
        "import pathlib, signal, subprocess, sys, time\nfrom hubserve import jobs\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "run = jobs.open_run(pathlib.Path(sys.argv[-1]))\n"
        "with jobs.hold(run):\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "    run.write_status(run.written_status().model_copy(update={'state': 'running'}))\n"
        "    (run.path / 'child').write_text(str(child.pid)); time.sleep(600)\n"
    )
    monkeypatch.setattr(jobs.process, "COMMAND", (sys.executable, str(program)))
    run = jobs.create(jobs.dump_job(TINY))
    jobs.start(run)
    until(lambda: (run.path / "child").is_file() and (run.path / "child").read_text() != "")
    began = time.monotonic()
    assert client.delete(f"/search_jobs/{run.id}").status_code == 202
    until(lambda: client.get(f"/search_jobs/{run.id}").json()["state"] == "stopped", seconds=10)
    assert time.monotonic() - began < 60
    assert not alive(int((run.path / "child").read_text()))
    assert str(exports.home.home()) not in client.get(f"/search_jobs/{run.id}").text
    jobs.delete(run)


def alive(pid: int) -> bool:
    """Whether a process is there and not only waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_searches_are_listed_page_by_page_without_their_trials(client):
    """120 searches of 300 trials each were 4 MB."""
    row = TrialRow(number=0, values={"val_acc": 0.5, "params": 1e6}, state="complete", seconds=1.0)
    history = [row.model_copy(update={"number": i}) for i in range(300)]
    runs = [jobs.create(jobs.dump_job(TINY)) for _ in range(120)]
    for run in runs:
        run.write_status(run.written_status().model_copy(update={"history": history, "state": "done"}))
    newest = [run.id for run in jobs.list_runs()]
    try:
        answer = client.get("/search_jobs")
        assert len(answer.content) < 50_000
        assert not any("history" in entry for entry in answer.json())
        pages, after = [], None
        while True:
            page = client.get("/search_jobs", params={"limit": 50} | ({"after": after} if after else {})).json()
            if not page:
                break
            pages += [entry["id"] for entry in page]
            after = pages[-1]
        assert pages == newest
        for wrong in ({"limit": 0}, {"limit": 201}, {"limit": "x"}):
            assert client.get("/search_jobs", params=wrong).status_code == 422
        assert client.get("/search_jobs", params={"after": "nosuch"}).status_code == 404
        place = f"/search_jobs/{newest[0]}"
        assert [trial["number"] for trial in client.get(place, params={"limit": 2}).json()["history"]] == [298, 299]
        assert [t["number"] for t in client.get(place, params={"limit": 2, "after": 9}).json()["history"]] == [10, 11]
        assert len(client.get(place).json()["history"]) == 300
        assert client.get(place, params={"limit": 10_001}).status_code == 422
        assert runs[0].written_summary().updated < datetime.now(UTC)
    finally:
        for run in runs:
            jobs.delete(run)


def test_the_command_line_ends_exports_too(client, monkeypatch, tmp_path):
    (tmp_path / "hangs.py").write_text("import time\nprint('hangs', flush=True)\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    monkeypatch.setattr(exports, "WORKER", "hangs")
    identity = client.post("/exports", json={"model": "efficientnet-lite0"}).json()["id"]
    found = CliRunner().invoke(app, ["exports", "--json"])
    assert [entry["state"] for entry in json.loads(found.stdout) if entry["id"] == identity] == ["running"]
    ended = CliRunner().invoke(app, ["exports", identity, "--stop", "--json"])
    assert json.loads(ended.stdout)["state"] == "stopped"
    assert CliRunner().invoke(app, ["exports", "--stop"]).exit_code == 2
