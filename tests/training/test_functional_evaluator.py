"""Any function as an evaluator, and the reporting functions that NNI's trials call."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import hubserve
from hubserve.errors import EvaluatorError
from hubserve.evaluator import FunctionalEvaluator, Objective, Trial
from tests.training.nets import Mlp

ARCH = {"width": 16}


def test_it_gets_the_frozen_network_and_its_arguments():
    def function(model, scale, shift=0):
        assert [type(m).__name__ for m in model] == ["Flatten", "Linear", "ReLU", "Linear"]
        return scale * model[1].out_features + shift

    assert FunctionalEvaluator(function, scale=2, shift=1).evaluate(Mlp(), ARCH, Trial()) == {"default": 33.0}


def test_the_weights_are_those_of_the_seed():
    def function(model):
        return model[1].weight.sum().item() + torch.rand(1).item()

    evaluator = FunctionalEvaluator(function)
    one = evaluator.evaluate(Mlp(), ARCH, Trial(seed=1))
    assert one == evaluator.evaluate(Mlp(), ARCH, Trial(seed=1)) != evaluator.evaluate(Mlp(), ARCH, Trial(seed=2))


def test_results_are_reported_as_in_nni():
    reported = []

    class Listening(Trial):
        def report(self, step, value):
            reported.append((step, value))

    def function(model):
        for accuracy in (0.5, 0.6):
            hubserve.report_intermediate_result(accuracy)
        hubserve.report_final_result({"default": 0.7, "size": 3})
        assert hubserve.get_sequence_id() == 4
        assert hubserve.get_experiment_id() == "mine"
        assert hubserve.get_trial_id() == "mine/4"

    scores = FunctionalEvaluator(function).evaluate(Mlp(), ARCH, Listening(number=4, experiment="mine"))
    assert scores == {"default": 0.7, "size": 3.0}
    assert reported == [(0, 0.5), (1, 0.6)]


def test_several_objectives_by_name():
    objectives = ("accuracy", Objective("ms", "minimize"))
    evaluator = FunctionalEvaluator(lambda model: {"default": 0.5, "ms": 2}, objectives)
    assert evaluator.objectives == (Objective("accuracy"), Objective("ms", "minimize"))
    assert evaluator.fit(Mlp().freeze(ARCH)) == {"default": 0.5, "accuracy": 0.5, "ms": 2.0}


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda model: None, "returned nothing and did not call hubserve.report_final_result"),
        (lambda model: 0.5, r"gave \['accuracy'\] and not the objective 'ms'"),
        (lambda model: {"accurac": 1.0, "ms": 1.0}, r"not the objective 'accuracy'. Did you mean accurac"),
        (lambda model: hubserve.report_intermediate_result({"other": 1.0}), "without 'accuracy'"),
    ],
)
def test_missing_results_are_reported(function, message):
    with pytest.raises(EvaluatorError, match=message):
        FunctionalEvaluator(function, ("accuracy", "ms")).evaluate(Mlp(), ARCH, Trial())


def test_calls_that_cannot_work_are_refused_at_once():
    def function(model, epochs):
        return 1.0

    with pytest.raises(EvaluatorError, match=r"cannot be called with a network and \['epoch'\]"):
        FunctionalEvaluator(function, epoch=3)
    with pytest.raises(EvaluatorError, match="objectives is empty"):
        FunctionalEvaluator(function, (), epochs=3)


def test_nothing_is_reported_outside_of_an_evaluation():
    for call in (lambda: hubserve.report_final_result(1.0), hubserve.get_trial_id):
        with pytest.raises(EvaluatorError, match="nothing is being evaluated here"):
            call()


def test_importing_hubserve_imports_no_torch():
    code = "import sys, hubserve; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'report_results'"):
        hubserve.report_results  # noqa: B018
