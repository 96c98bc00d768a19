"""Jobs that filter archs by a zero-cost score, or search by one."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np
import pytest

from hubserve import jobs, store
from hubserve.errors import JobError
from hubserve.experiment import NasExperiment
from hubserve.pipeline import check_definition, resolve_job, run_job
from hubserve.pipeline.phases import zero_cost_filter
from hubserve.pipeline.phases.search import make_experiment
from hubserve.pipeline.resolved_search import ResolvedSearch
from tests.hub.test_training import SMALL
from tests.pipeline.definitions import short

QUICK = {"retrain": {"epochs": 1}, "publish": None}
FILTER = {"score": "naswot", "quantile": 0.5, "archs": 6, "images": 8}
ZERO_COST = {"name": "ZeroCost", "arguments": {"score": "naswot", "images": 8}}
BY_SCORE = {"evaluator": ZERO_COST, "objectives": ["naswot"], "budget": {"trials": 3}}
TRANSFORMER = {"name": "AutoFormer", "settings": {k: v for k, v in SMALL["AutoFormer"].items() if k != "num_labels"}}


def resolved(folder, **changes: Any) -> ResolvedSearch:
    return resolve_job(jobs.parse_job(short(**QUICK | changes), where="it"), where=folder)  # type: ignore[return-value]


def scores(job: ResolvedSearch, experiment: NasExperiment) -> list[float]:
    return [job.filter_measure(job.space, trial.arch)["naswot"] for trial in experiment.trials]


def test_a_filter_refuses_archs_before_they_are_trained(tmp_path, monkeypatch):
    run = jobs.create(short(zero_cost_filter=FILTER, **QUICK | BY_SCORE))
    job = resolved(tmp_path, zero_cost_filter=FILTER, **BY_SCORE)
    experiment = make_experiment(job, run, lambda _: None)
    experiment.run()
    bound = json.loads((run.path / "zero_cost_filter.json").read_text())
    states = {trial.state: trial for trial in experiment.trials}
    assert set(states) == {"complete", "infeasible"}
    assert [score < bound for score in scores(job, experiment)] == [t.state == "infeasible" for t in experiment.trials]
    assert f"misses naswot >= {bound:g} by" in states["infeasible"].reason
    assert job.facts()["zero_cost_filter"] == "naswot not below the quantile 0.5 of 6 random archs"

    # When the run goes on, its bound is read and not drawn again.
    monkeypatch.setattr(zero_cost_filter, "quantile_constraint", lambda *_, **__: pytest.fail("scored again"))
    assert make_experiment(job, run, lambda _: None).run() == experiment.stop_reason


def test_the_bound_is_that_of_the_training_images_and_the_seed(tmp_path):
    job = resolved(tmp_path, zero_cost_filter=FILTER)
    rng = Random(5)
    drawn = [job.space.random(rng) for _ in range(6)]
    expected = np.quantile([job.filter_measure(job.space, arch)["naswot"] for arch in drawn], 0.5)
    found = zero_cost_filter.filter_constraints(job, jobs.create(short(zero_cost_filter=FILTER)))
    assert [(c.measure, c.relation, c.bound) for c in found] == [("naswot", ">=", pytest.approx(expected))]
    assert zero_cost_filter.filter_constraints(resolved(tmp_path), jobs.create(short())) == ()


def test_a_job_is_driven_by_a_score(tmp_path):
    job = resolved(tmp_path, **BY_SCORE)
    experiment = make_experiment(job, jobs.create(short(**QUICK | BY_SCORE)), lambda _: None)
    experiment.run()
    best = max(experiment.trials, key=lambda trial: trial.scores["naswot"])
    assert experiment.top_trials()[0].number == best.number
    assert job.facts()["objectives"] == "maximize naswot"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"space": TRANSFORMER, "zero_cost_filter": FILTER},
            r"^zero_cost_filter: naswot is not defined for .* snip and jacov are",
        ),
        ({"space": TRANSFORMER, **BY_SCORE}, "^evaluator: naswot is not defined for .* it has no ReLU"),
        (
            {"zero_cost_filter": FILTER, "strategy": {"name": "DARTS"}, "budget": {}, "retrain": {"epochs": 1}},
            "^zero_cost_filter: DARTS trains shared weights",
        ),
        (
            {"evaluator": ZERO_COST, "objectives": ["naswot"], "retrain": None},
            "^evaluator: ZeroCost leaves no weights to publish",
        ),
        (
            {"evaluator": {"name": "ZeroCost", "arguments": {"score": "nasvot"}}},
            "^evaluator: ZeroCost: .*'nasvot'. Did you mean",
        ),
        (
            {"evaluator": {"name": "ZeroCost", "arguments": {"score": "params"}}},
            "^evaluator: ZeroCost gives params, and the job's objectives have val_acc: choose one of naswot, jacov",
        ),
        (
            {"evaluator": {"name": "ZeroCost", "arguments": {"scores": "zen"}}, "objectives": ["naswot"]},
            r"^evaluator.arguments.scores: .*Did you mean score\?",
        ),
        ({"evaluator": {"name": "zerocost"}}, r"^evaluator.name: no evaluator is called 'zerocost'. Did you mean ZeroCost\?"),
    ],
)
def test_what_is_refused(changes, message, tmp_path):
    with pytest.raises(JobError, match=message):
        resolved(tmp_path, **changes)


def test_over_http_they_are_allowed(tmp_path):
    found = jobs.parse_job(short(**QUICK, **BY_SCORE, zero_cost_filter=FILTER), where="it")
    check_definition(found, jobs.JobLimits(roots=(tmp_path,)))


@pytest.mark.slow
def test_a_whole_job():
    run = jobs.create(short(**BY_SCORE, zero_cost_filter=FILTER, retrain={"epochs": 1}, publish={"formats": ["onnx"]}))
    with jobs.hold(run):
        run_job(run)
    status = jobs.read(run)
    assert (status.state, [objective.name for objective in status.objectives]) == ("done", ["naswot"])
    assert status.best.values["naswot"] == max(row.values["naswot"] for row in status.history if row.state == "complete")
    provenance = store.resolve(status.published).package.manifest.provenance
    assert provenance.search["zero_cost_filter"] == FILTER
    assert provenance.search["scores"]["naswot"] == status.best.values["naswot"]
    assert provenance.weights == "retrained"
