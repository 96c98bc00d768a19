"""The pruner of a job: found by its name, refused where no trial can end early, and at work in a search."""

from __future__ import annotations

import pytest

from hubserve import jobs
from hubserve.errors import JobError
from hubserve.experiment.epoch_pruner import EpochPruner
from hubserve.experiment.named_pruners import PRUNERS
from hubserve.pipeline import check_definition, run_job
from hubserve.pipeline.pruners import make_pruner
from tests.pipeline.definitions import short


def job(name="SuccessiveHalving", arguments=None, **changes):
    entries = {"recipe": {"epochs": 4}} | changes
    return jobs.parse_job(short(pruner={"name": name, "arguments": arguments or {}}, **entries), where="it")


@pytest.mark.parametrize("name", PRUNERS)
def test_each_is_made_by_its_name(name):
    needed = {"Percentile": {"percentile": 25.0}}
    made = job(name, needed.get(name))
    check_definition(made)
    assert isinstance(make_pruner(made), EpochPruner)
    assert make_pruner(jobs.parse_job(short(), where="it")) is None


def test_one_of_ones_own_by_import_path():
    check_definition(job("optuna.pruners:ThresholdPruner", {"upper": 1.0}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Hyperbands"}, r"^pruner.name: no pruner is called 'Hyperbands'. Did you mean .*Hyperband"),
        ({"name": "optuna.samplers:TPESampler"}, "^pruner.name: .* is no pruner"),
        (
            {"arguments": {"reduction": 2}},
            r"^pruner.arguments.reduction: SuccessiveHalving has no such argument",
        ),
        ({"arguments": {"reduction_factor": 1}}, "^pruner.arguments: .*reduction_factor"),
        ({"recipe": {"epochs": 1}}, "^pruner: recipe.epochs = 1"),
        ({"objectives": ["val_acc", "params"]}, "^pruner: trials are compared in one score"),
        ({"strategy": {"name": "DARTS"}, "budget": {}}, "^pruner: DARTS scores archs with shared weights"),
    ],
)
def test_what_cannot_prune_is_refused(changes, message):
    with pytest.raises(JobError, match=message):
        check_definition(job(**changes))


def test_code_of_ones_own_is_refused_over_http(tmp_path):
    with pytest.raises(JobError, match=r"pruner.name: .*import path"):
        check_definition(job("optuna.pruners:ThresholdPruner"), jobs.JobLimits(roots=(tmp_path,)))


@pytest.mark.slow
def test_a_search_ends_trials_early(home):
    definition = short(
        pruner={"name": "SuccessiveHalving", "arguments": {"reduction_factor": 2}},
        recipe={"epochs": 3},
        budget={"trials": 5},
        retrain=None,
        publish=None,
    )
    status = run_job(jobs.create(definition))
    states = {row.state for row in status.history}
    assert states == {"complete", "pruned"}
    assert (status.state, status.trials) == ("done", 5)
    assert all("at step" in row.reason for row in status.history if row.state == "pruned")
