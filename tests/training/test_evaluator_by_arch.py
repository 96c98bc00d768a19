"""Evaluators that depend on the arch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from torch import nn

from hubserve.errors import ArchError, EvaluatorError
from hubserve.evaluator import EvaluatorByArch, FailureHandler, FunctionalEvaluator, Objective, Trial
from hubserve.experiment import NasExperiment
from hubserve.space import ModelSpace
from hubserve.strategy import GridSearch


@dataclass(frozen=True)
class Joint(ModelSpace):
    """A layer, and a learning rate that the network does not use."""

    def build(self, pick):
        pick("learning_rate", (0.1, 0.01))
        return nn.Linear(pick("width", (2, 4)), 1)


def scored(model, rate):
    return model.in_features + rate


def by_arch(arch):
    return FunctionalEvaluator(scored, rate=arch["learning_rate"])


def test_a_search_over_both(tmp_path):
    experiment = NasExperiment(Joint(), EvaluatorByArch(by_arch, [Objective()]), GridSearch(), folder=tmp_path)
    experiment.run()
    assert len(experiment.trials) == 4
    assert experiment.export_top_models() == [{"learning_rate": 0.1, "width": 4}]
    assert experiment.top_trials()[0].scores["default"] == pytest.approx(4.1)


@pytest.mark.parametrize("width", [2, 4])
def test_a_refused_arch_may_get_a_fixed_score(width):
    def few(arch):
        if arch["width"] > 2:
            raise ArchError("too wide")
        return by_arch(arch)

    evaluator = FailureHandler(EvaluatorByArch(few, [Objective()]), metric=-1.0, failure_types=(ArchError,))
    scores = evaluator.evaluate(Joint(), {"learning_rate": 0.1, "width": width}, Trial())
    assert scores == {"default": 2.1 if width == 2 else -1.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda arch: None, "make returned a NoneType, which is no Evaluator"),
        (lambda arch: FunctionalEvaluator(scored, objectives=["other"], rate=1), "objectives = .*default.* has .*other"),
    ],
)
def test_what_make_must_return(make, message):
    with pytest.raises(EvaluatorError, match=message):
        EvaluatorByArch(make, [Objective()]).evaluate(Joint(), {"learning_rate": 0.1, "width": 2}, Trial())
