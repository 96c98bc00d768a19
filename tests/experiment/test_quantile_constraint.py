"""A share of all archs is refused before training, and the record of the trial says why."""

from __future__ import annotations

from random import Random

import pytest

from hubserve.benchmarks.zero_cost import ZeroCostMeasure
from hubserve.errors import ExperimentError
from hubserve.evaluator import FunctionalEvaluator
from hubserve.experiment import Constraint, NasExperiment, quantile_constraint
from hubserve.hub import NasBench201
from hubserve.strategy import Random as RandomStrategy
from tests.benchmarks.zero_cost.test_score_functions import batch

SPACE = NasBench201(stem_out_channels=4, num_modules_per_stack=1)


def convolutions(space, arch):
    return {"convolutions": float(sum(value.startswith("conv") for value in arch.values()))}


def test_the_bound_is_the_quantile_of_archs_drawn_with_the_seed():
    rng = Random(3)
    values = sorted(convolutions(SPACE, SPACE.random(rng))["convolutions"] for _ in range(5))
    assert quantile_constraint(SPACE, convolutions, "convolutions", archs=5, seed=3) == Constraint(
        "convolutions", ">=", values[2]
    )
    most = quantile_constraint(SPACE, convolutions, "convolutions", archs=5, seed=3, quantile=0.75, relation="<=")
    assert most == Constraint("convolutions", "<=", values[3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantile": 0.0}, "quantile = 0.0 must lie between 0 and 1"),
        ({"quantile": 1.0}, "quantile = 1.0 must lie between 0 and 1"),
        ({"archs": 1}, "archs = 1 must be at least 2"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ExperimentError, match=message):
        quantile_constraint(SPACE, convolutions, "convolutions", **settings)
    with pytest.raises(ExperimentError, match=r"returns no 'convolution'. Did you mean convolutions\?"):
        quantile_constraint(SPACE, convolutions, "convolution")


def test_archs_with_low_scores_are_not_trained(tmp_path):
    trained = []
    measure = ZeroCostMeasure(batch(), ["naswot"])
    constraint = quantile_constraint(SPACE, measure, "naswot", quantile=0.5, archs=10)
    experiment = NasExperiment(
        SPACE,
        FunctionalEvaluator(lambda network: trained.append(network) or 1.0),
        RandomStrategy(seed=1),
        folder=tmp_path,
        max_trials=5,
        constraints=[constraint],
        measures={"naswot": measure},
        progress=False,
        seed=0,
    )
    experiment.run()
    refused = [trial for trial in experiment.trials if trial.state == "infeasible"]
    assert len(trained) == 5
    assert refused
    for trial in experiment.trials:
        score = measure(SPACE, trial.arch)["naswot"]
        assert (score < constraint.bound) == (trial.state == "infeasible")
        if trial.state == "complete":
            assert trial.scores["naswot"] == score
        else:
            assert trial.reason.startswith(f"naswot = {score:g} misses naswot >= {constraint.bound:g} by ")
