"""Optuna's own suites for samplers against the strategies, and fixed parameters in a search of archs."""

from __future__ import annotations

from functools import partial

import optuna
import pytest
from optuna.samplers import PartialFixedSampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase, RelativeSamplerTestCase

from hubserve.hub import NasBench201
from hubserve.strategy import (
    BANANAS,
    NSGA2,
    TPE,
    LocalSearch,
    PairwiseGP,
    ParetoEvolution,
    PolicyBasedRL,
    Random,
    RegularizedEvolution,
    as_strategy,
    suggest_arch,
)

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class TestSamplers(BasicSamplerTestCase):
    @pytest.fixture(params=[Random, RegularizedEvolution, PairwiseGP, TPE])
    def sampler(self, request):
        return partial(request.param, seed=1)


@pytest.mark.slow
class TestOtherSamplers(BasicSamplerTestCase):
    @pytest.fixture(params=[LocalSearch, BANANAS, PolicyBasedRL, NSGA2, ParetoEvolution])
    def sampler(self, request):
        return partial(request.param, seed=1)


@pytest.mark.slow
class TestSamplersOfSeveralParameters(RelativeSamplerTestCase):
    """For the strategies whose sampler draws the parameters of a plain study together."""

    @pytest.fixture(
        params=[partial(TPE, 1, seed=1), lambda: as_strategy(optuna.samplers.TPESampler(n_startup_trials=1, seed=1))]
    )
    def sampler(self, request):
        return request.param


@pytest.mark.slow
class TestSamplersOfSeveralObjectives(MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=[Random, PairwiseGP, NSGA2, ParetoEvolution])
    def sampler(self, request):
        return partial(request.param, seed=1)


@pytest.mark.parametrize("kind", [Random, RegularizedEvolution, LocalSearch, PairwiseGP, TPE])
def test_a_fixed_choice_stays_fixed(kind):
    space = NasBench201()
    label = next(iter(space.choices))
    strategy = kind(seed=1)
    strategy.bind(space, max_trials=20)
    study = optuna.create_study(sampler=PartialFixedSampler({label: "conv_3x3"}, strategy), direction="maximize")
    study.optimize(lambda trial: sum(op == "conv_1x1" for op in suggest_arch(trial, space).values()), n_trials=16)
    assert {trial.params[label] for trial in study.trials} == {"conv_3x3"}
    assert len({trial.params[other] for trial in study.trials for other in space.choices if other != label}) > 2


@pytest.mark.parametrize("seed", range(4))
def test_a_fixed_parameter_of_a_plain_study_stays_fixed(seed):
    study = optuna.create_study(sampler=RegularizedEvolution(4, 2, seed=seed))

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("x", -1, 1) + trial.suggest_int("y", -5, 5)

    study.optimize(objective, n_trials=6)
    study.sampler = PartialFixedSampler({"y": 0}, study.sampler)
    study.optimize(objective, n_trials=6)
    assert [trial.params["y"] for trial in study.trials[6:]] == [0] * 6
