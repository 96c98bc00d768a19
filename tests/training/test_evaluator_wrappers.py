"""Failures, repeated evaluations and archs that come again."""

from __future__ import annotations

import pytest

from hubserve.errors import EvaluatorError, TrialPruned
from hubserve.evaluator import FailureHandler, MultipleEvaluation, Objective, Replay, Trial
from hubserve.hub import NasBench201
from hubserve.training.evaluator import Evaluator

SPACE = NasBench201()
ARCH = SPACE.grid_arch(0)


class Flaky(Evaluator):
    """Fails a number of times, then scores the seed."""

    objectives = (Objective("a"), Objective("b", "minimize"))

    def __init__(self, failures=0, error=ValueError):
        self.failures = failures
        self.error = error
        self.trials = []

    def evaluate(self, space, arch, trial):
        self.trials.append(trial)
        if len(self.trials) <= self.failures:
            raise self.error("no")
        return {"a": float(trial.seed), "b": 1.0, "extra": 2.0}


class TestFailureHandler:
    def test_tries_again_with_another_seed_and_folder(self, tmp_path):
        flaky = Flaky(failures=2)
        scores = FailureHandler(flaky, retry_patience=2).evaluate(SPACE, ARCH, Trial(3, 7, tmp_path, "mine"))
        assert scores["a"] == flaky.trials[2].seed
        assert len({trial.seed for trial in flaky.trials}) == 3
        assert [trial.number for trial in flaky.trials] == [3] * 3
        assert {trial.experiment for trial in flaky.trials} == {"mine"}
        assert [trial.folder.is_dir() for trial in flaky.trials] == [True] * 3
        assert len({trial.folder for trial in flaky.trials}) == 3

    def test_the_last_failure_is_the_trials(self):
        flaky = Flaky(failures=9)
        with pytest.raises(ValueError, match="no"):
            FailureHandler(flaky, retry_patience=3).evaluate(SPACE, ARCH, Trial())
        assert len(flaky.trials) == 4

    def test_scores_a_failure(self):
        assert FailureHandler(Flaky(failures=1), metric=-1.0).evaluate(SPACE, ARCH, Trial()) == {"a": -1.0, "b": -1.0}
        scores = FailureHandler(Flaky(failures=1), metric={"a": 0.0, "b": 9.0}).evaluate(SPACE, ARCH, Trial())
        assert scores == {"a": 0.0, "b": 9.0}
        assert FailureHandler(Flaky(), metric=-1.0).evaluate(SPACE, ARCH, Trial(seed=5))["a"] == 5.0

    def test_pruned_is_no_failure_and_other_types_pass(self):
        with pytest.raises(TrialPruned):
            FailureHandler(Flaky(1, TrialPruned), metric=0.0).evaluate(SPACE, ARCH, Trial())
        with pytest.raises(KeyError):
            FailureHandler(Flaky(1, KeyError), metric=0.0, failure_types=(ValueError,)).evaluate(SPACE, ARCH, Trial())

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            ({}, "give exactly one"),
            ({"metric": 0.0, "retry_patience": 1}, "give exactly one"),
            ({"retry_patience": 0}, "must be at least 1"),
            ({"metric": {"a": 1.0}}, "a number for each of a, b"),
        ],
    )
    def test_senseless_settings(self, settings, complaint):
        with pytest.raises(EvaluatorError, match=complaint):
            FailureHandler(Flaky(), **settings)


class TestMultipleEvaluation:
    def test_mean_over_seeds(self):
        flaky = Flaky()
        evaluator = MultipleEvaluation(flaky, 3)
        scores = evaluator.evaluate(SPACE, ARCH, Trial(seed=1))
        seeds = [trial.seed for trial in flaky.trials]
        assert seeds[0] == 1
        assert len(set(seeds)) == 3
        assert scores == {"a": sum(seeds) / 3, "b": 1.0, "extra": 2.0}
        assert evaluator.objectives == flaky.objectives

    def test_only_the_first_reports(self):
        class Reporting(Trial):
            def report(self, step, value):
                raise TrialPruned("enough")

        class Reports(Flaky):
            def evaluate(self, space, arch, trial):
                if self.trials:
                    trial.report(1, 0.5)
                return super().evaluate(space, arch, trial)

        assert MultipleEvaluation(Reports(), 2).evaluate(SPACE, ARCH, Reporting())["b"] == 1.0

    def test_senseless(self):
        with pytest.raises(EvaluatorError, match="repeat = 0 must be at least 1"):
            MultipleEvaluation(Flaky(), 0)


def test_replay_asks_once():
    flaky = Flaky()
    replay = Replay(flaky)
    first = replay.evaluate(SPACE, ARCH, Trial(seed=1))
    assert replay.evaluate(SPACE, {**ARCH, "unused": 1}, Trial(seed=2)) == first
    assert len(flaky.trials) == 1
    replay.evaluate(SPACE, SPACE.grid_arch(1), Trial(seed=3))
    replay.evaluate(NasBench201(num_labels=100), ARCH, Trial(seed=4))
    assert len(flaky.trials) == 3


def test_replay_reports_the_intermediate_values_again():
    class Reports(Flaky):
        def evaluate(self, space, arch, trial):
            for step in range(3):
                trial.report(step, 0.1 * step)
            return super().evaluate(space, arch, trial)

    class Kept(Trial):
        def __init__(self, ends_at=None):
            super().__init__(seed=1)
            object.__setattr__(self, "reports", [])
            object.__setattr__(self, "ends_at", ends_at)

        def report(self, step, value):
            self.reports.append((step, value))
            if step == self.ends_at:
                raise TrialPruned("not among the better ones")

    replay, trials = Replay(Reports()), [Kept(), Kept(), Kept(ends_at=1)]
    first = replay.evaluate(SPACE, ARCH, trials[0])
    assert replay.evaluate(SPACE, ARCH, trials[1]) == first
    assert trials[0].reports == trials[1].reports == [(0, 0.0), (1, 0.1), (2, 0.2)]
    with pytest.raises(TrialPruned):
        replay.evaluate(SPACE, ARCH, trials[2])
    assert trials[2].reports == [(0, 0.0), (1, 0.1)]
