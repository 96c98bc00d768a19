"""Studies that hubserve wrote at commit 4304603 open, and go on where they were."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from hubserve.experiment import open_storage

GOLDEN = Path(__file__).parents[1] / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text())["experiment"]


@pytest.fixture(scope="module")
def parts():
    """The script that made the experiments, under the module names of today."""
    source = (GOLDEN / "study_parts.py").read_text()
    module = type(sys)("golden_study_parts")
    sys.modules[module.__name__] = module
    exec(source.replace("hubserve.evaluator.table import Table", "hubserve.evaluator import Table"), vars(module))
    yield module
    del sys.modules[module.__name__]


def copied(name, tmp_path):
    return Path(shutil.copytree(GOLDEN / "experiment" / name, tmp_path / name))


def facts(experiment):
    trials = [
        {"number": t.number, "state": t.state, "arch": t.arch, "scores": t.scores, "reason": t.reason}
        for t in experiment.trials
    ]
    return {
        "name": experiment.name,
        "trials": trials,
        "top": [trial.number for trial in experiment.top_trials(3)],
        "pareto_front": sorted(trial.number for trial in experiment.pareto_front),
    }


def test_a_finished_one_has_the_same_best(parts, tmp_path):
    experiment = parts.finished(copied("finished", tmp_path))
    assert facts(experiment) == EXPECTED["finished"]
    # It reached its limit, and adds no trial.
    experiment.resume()
    assert facts(experiment) == EXPECTED["finished"]


def test_an_interrupted_one_goes_on_to_the_end_that_it_had_then(parts, tmp_path):
    expected = EXPECTED["interrupted"]
    experiment = parts.interrupted(copied("interrupted", tmp_path))
    assert facts(experiment) == {key: expected[key] for key in ("name", "trials", "top", "pareto_front")}
    assert experiment.resume() == expected["stop_reason"]
    resumed = facts(experiment)
    for trial in resumed["trials"]:
        if trial["state"] == "infeasible":  # The measures that refused an arch were not kept then.
            trial["scores"] = {}
    assert resumed == expected["resumed"]


def test_optuna_opens_them(tmp_path):
    for name in ("finished", "interrupted"):
        storage = open_storage(copied(name, tmp_path) / "study.journal")
        assert [study.study_name for study in storage.get_all_studies()] == [f"golden-{name}"]
