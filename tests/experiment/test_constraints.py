"""Constraints: what misses one is not evaluated, and the search says by how much."""

from __future__ import annotations

import pytest
import torch

from hubserve.complexity import complexity
from hubserve.errors import ExperimentError
from hubserve.evaluator import Evaluator, Objective
from hubserve.experiment import Constraint, NasExperiment
from hubserve.hub import NasBench201
from hubserve.strategy import GridSearch, Random
from tests.experiment.small import SHAPE, Small, Value, value


class Counting(Evaluator):
    def __init__(self):
        self.archs = []

    def evaluate(self, space, arch, trial):
        self.archs.append(arch)
        return {"default": value(arch)}


def size(arch):
    return complexity(Small().freeze(arch), SHAPE)


def test_only_feasible_archs_are_evaluated(tmp_path):
    constraints = [Constraint("params", "<=", 500), Constraint("macs", ">=", 2000)]
    evaluator = Counting()
    experiment = NasExperiment(
        Small(), evaluator, GridSearch(seed=1), constraints=constraints, input_shape=SHAPE, folder=tmp_path
    )
    experiment.run()
    everything = [Small().grid_arch(i) for i in range(96)]
    feasible = [arch for arch in everything if size(arch).params <= 500 and size(arch).macs >= 2000]
    assert 0 < len(feasible) < 96
    assert sorted(map(value, evaluator.archs)) == sorted(map(value, feasible))
    assert value(experiment.export_top_models()[0]) == max(map(value, feasible))
    for record in experiment.trials:
        if record.state == "infeasible":
            assert "misses" in record.reason
        else:
            assert record.scores["params"] == size(record.arch).params
            assert record.scores["macs"] == size(record.arch).macs


def test_infeasible_proposals_cost_no_trials(tmp_path):
    evaluator = Counting()
    experiment = NasExperiment(
        Small(),
        evaluator,
        Random(seed=1),
        constraints=[Constraint("params", "<=", 300)],
        input_shape=SHAPE,
        folder=tmp_path,
        max_trials=10,
    )
    experiment.run()
    assert len(evaluator.archs) == 10
    assert len(experiment.trials) > 10


def test_nothing_feasible_ends_with_what_failed_and_by_how_much(tmp_path):
    smallest = min(size(Small().grid_arch(i)).params for i in range(96))
    experiment = NasExperiment(
        Small(),
        Counting(),
        Random(seed=1),
        constraints=[Constraint("params", "<=", smallest / 2)],
        input_shape=SHAPE,
        folder=tmp_path,
        max_trials=10,
    )
    reason = experiment.run()
    assert "no arch met the constraints" in reason
    assert f"params = {smallest} misses params <= {smallest / 2:g} by 100.0%" in reason
    assert experiment.export_top_models() == []
    with pytest.raises(ExperimentError, match="params <="):
        experiment.best_model()


def test_measures_may_be_objectives(tmp_path):
    objectives = (Objective("default"), Objective("params", "minimize"))
    experiment = NasExperiment(
        Small(), Value(), GridSearch(seed=1), objectives=objectives, input_shape=SHAPE, folder=tmp_path, max_trials=30
    )
    experiment.run()
    assert all(record.scores["params"] == size(record.arch).params for record in experiment.trials)
    smallest = min(record.scores["params"] for record in experiment.trials)
    assert any(record.scores["params"] == smallest for record in experiment.pareto_front)


def test_measures_of_one_s_own(tmp_path):
    def memory(space, arch):
        return {"memory": 100.0 * arch["width"]}

    experiment = NasExperiment(
        Small(),
        Counting(),
        GridSearch(seed=1),
        constraints=[Constraint("memory", "<=", 450)],
        measures={"memory": memory},
        input_shape=SHAPE,
        folder=tmp_path,
    )
    experiment.run()
    assert max(arch["width"] for arch in (r.arch for r in experiment.export_data())) == 4


def test_a_hub_space_knows_the_shape_of_its_images(tmp_path):
    space = NasBench201(stem_out_channels=2, num_modules_per_stack=1)

    class Zero(Evaluator):
        def evaluate(self, space, arch, trial):
            return {"default": 0.0}

    experiment = NasExperiment(
        space, Zero(), Random(seed=1), constraints=[Constraint("macs", "<=", 1e9)], folder=tmp_path, max_trials=2
    )
    experiment.run()
    for record in experiment.trials:
        with torch.device("meta"):
            model = space.freeze(record.arch)
        assert record.scores["macs"] == complexity(model, (3, 32, 32)).macs


def test_what_cannot_be_meant_is_refused(tmp_path):
    with pytest.raises(ExperimentError, match="relation"):
        Constraint("params", "<", 3)  # type: ignore[arg-type]
    with pytest.raises(ExperimentError, match="input_shape"):
        NasExperiment(Small(), Value(), Random(), constraints=[Constraint("params", "<=", 3)], folder=tmp_path)
    with pytest.raises(ExperimentError, match=r"no measure 'latency_ms'.*hubserve.latency.MeasuredLatency\(input_size"):
        NasExperiment(
            Small(), Value(), Random(), constraints=[Constraint("latency_ms", "<=", 3)], input_shape=SHAPE, folder=tmp_path
        )
    with pytest.raises(ExperimentError, match=r"no measure 'parms'.*params"):
        NasExperiment(
            Small(), Value(), Random(), constraints=[Constraint("parms", "<=", 3)], input_shape=SHAPE, folder=tmp_path
        )
