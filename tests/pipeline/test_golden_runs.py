"""Run folders that commit 4304603 wrote are listed, opened and continued; see tests/golden/README.md."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hubserve import jobs, store
from hubserve.jobs import Run
from hubserve.package.package import read_package
from hubserve.pipeline import run_here

GOLDEN = Path(__file__).parent.parent / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())["runs"]
CONTINUED = [name for name, facts in EXPECTED.items() if "resumed" in facts]
QUICK = {"golden_killed_search"}
"""A search that was killed."""


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Gives a copy of a golden run, its absolute paths rewritten as tests/golden/make.py says."""

    def copy(name: str) -> Run:
        path = tmp_path / "home" / "jobs" / EXPECTED[name]["id"]
        shutil.copytree(GOLDEN / "runs" / "jobs" / path.name, path)
        (path / "where").write_text(str(GOLDEN))
        winner_file = path / "winner.json"
        if winner_file.exists():
            winner = json.loads(winner_file.read_text())
            if winner["weights"] is not None:
                winner["weights"] = str(path / "search" / "trials" / f"{winner['number']:06d}" / "weights.safetensors")
                winner_file.write_text(json.dumps(winner))
        return jobs.find(path.name)

    return copy


@pytest.mark.parametrize("name", EXPECTED)
def test_it_is_listed_and_read(name, copied):
    facts, run = EXPECTED[name], copied(name)
    assert [found.id for found in jobs.list_summaries()] == [facts["id"]]
    status = jobs.read(jobs.open_run(run.path))
    assert (status.state, status.phase, status.published) == (facts["state"], facts["phase"], facts["published"])
    assert (status.trials, status.max_trials, status.plots) == (facts["trials_in_status"], facts["max_trials"], facts["plots"])
    assert (None if status.best is None else status.best.model_dump(mode="json")) == facts["best"]
    assert (status.test_acc, status.notes) == (None, [])
    assert jobs.parse_job(run.definition(), where="it").name == name


def test_one_that_is_done_publishes_nothing_again(copied):
    run = copied("golden_done")
    package = read_package(run.path / "package")
    package.verify()
    status = run_here(run)
    assert (status.state, status.published) == ("done", EXPECTED["golden_done"]["published"])
    assert status.test_acc == package.manifest.provenance.search["test_acc"]
    assert store.list_models() == []


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CONTINUED])
def test_it_continues(name, copied):
    facts, run = EXPECTED[name]["resumed"], copied(name)
    before = [row for row in run.written_status().history if row.state == "complete"]
    status = run_here(run)
    assert (status.state, status.trials) == ("done", facts["trials"])
    # Trials that were complete come out unchanged, and the number and states of the others are as they were then.
    history = {row.number: row for row in status.history}
    assert all(history[row.number].values == row.values for row in before)
    complete = [row["number"] for row in facts["history"] if row["state"] == "complete"]
    assert [row.number for row in status.history if row.state == "complete"][: len(before)] == complete[: len(before)]
    package = read_package(run.path / "package")
    provenance = package.manifest.provenance
    assert provenance.weights == facts["weights"]
    assert status.test_acc == provenance.search["test_acc"] == pytest.approx(facts["test_acc"], abs=0.15)
    assert (status.published or "").partition(":")[0] == (facts["published_name"] or "")
    assert [model.tag for model in store.list_models()] == ([status.published] if status.published else [])
