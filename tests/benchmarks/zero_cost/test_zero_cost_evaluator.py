"""A search by a zero-cost score."""

from __future__ import annotations

import pytest

from hubserve.benchmarks.zero_cost import draw_batch
from hubserve.errors import EvaluatorError
from hubserve.evaluator import Objective, Trial, ZeroCost, load_dataset
from hubserve.experiment import NasExperiment
from hubserve.hub import NasBench201
from hubserve.strategy import Random

SPACE = NasBench201(stem_out_channels=4, num_modules_per_stack=1)


@pytest.fixture(scope="module")
def data():
    return load_dataset("digits", size=16, augment=False)


def test_a_search_finds_the_best_of_its_archs(data, tmp_path):
    evaluator = ZeroCost("naswot", data=data, report=["params"], images=8)
    experiment = NasExperiment(SPACE, evaluator, Random(seed=1), folder=tmp_path, max_trials=4, seed=1, progress=False)
    experiment.run()
    assert evaluator.objectives == (Objective("naswot"),)
    best = max(experiment.trials, key=lambda trial: trial.scores["naswot"])
    assert experiment.top_trials()[0].arch == best.arch
    assert all(set(trial.scores) == {"naswot", "params"} for trial in experiment.trials)


def test_the_seed_of_the_trial_does_not_count(data):
    evaluator = ZeroCost("zen", data=data, images=4)
    arch = SPACE.grid_arch(100)
    assert evaluator.evaluate(SPACE, arch, Trial(seed=1)) == evaluator.evaluate(SPACE, arch, Trial(seed=2))
    again = ZeroCost("zen", data=data, images=4).evaluate(SPACE, arch, Trial())
    assert again == evaluator.evaluate(SPACE, arch, Trial()) == evaluator.measure(SPACE, arch)
    assert again != ZeroCost("zen", data=data, images=4, seed=1).evaluate(SPACE, arch, Trial())


def test_unknown_scores_are_refused(data):
    with pytest.raises(EvaluatorError, match=r"no zero-cost score 'synflo'. Did you mean synflow\?"):
        ZeroCost(data=data, report=["synflo"])
    with pytest.raises(EvaluatorError, match="images = 1"):
        ZeroCost(data=draw_batch(data, 4), images=1)
