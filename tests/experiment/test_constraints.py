"""Constraints: what misses one is not evaluated, and the search says by how much."""

from __future__ import annotations

import math
import statistics
import warnings

import optuna
import pytest
import torch
from optuna.trial import TrialState

from hubserve.complexity import complexity
from hubserve.errors import ExperimentError
from hubserve.evaluator import Evaluator, Objective
from hubserve.experiment import Constraint, NasExperiment
from hubserve.experiment.constraints import constraint_attributes
from hubserve.hub import NasBench201
from hubserve.strategy import NSGA2, GridSearch, Random
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


def test_what_each_limit_refused_and_by_how_much(tmp_path):
    constraints = [Constraint("params", "<=", 500), Constraint("macs", ">=", 2000)]
    experiment = NasExperiment(
        Small(), Counting(), GridSearch(seed=1), constraints=constraints, input_shape=SHAPE, folder=tmp_path
    )
    experiment.run()
    sizes = [size(Small().grid_arch(i)) for i in range(96)]
    by_params = sorted(found.params / 500 - 1 for found in sizes if found.params > 500)
    by_macs = sorted(1 - found.macs / 2000 for found in sizes if found.macs < 2000)
    params, macs = experiment.refusals
    # Both are counted together, so every arch was compared with both.
    assert (params.constraint, params.refused, params.checked) == ("params <= 500", len(by_params), 96)
    assert (macs.constraint, macs.refused, macs.checked) == ("macs >= 2000", len(by_macs), 96)
    assert (params.least, params.most) == (pytest.approx(by_params[0]), pytest.approx(by_params[-1]))
    assert macs.median == pytest.approx(statistics.median(by_macs))
    assert experiment.closest is None
    refused = [record for record in experiment.trials if record.state == "infeasible"]
    assert all(record.scores["params"] == size(record.arch).params for record in refused)


def test_a_measure_after_a_missed_one_is_not_counted(tmp_path):
    experiment = NasExperiment(
        Small(),
        Counting(),
        GridSearch(seed=1),
        constraints=[Constraint("params", "<=", 1), Constraint("memory", "<=", 450)],
        measures={"memory": lambda space, arch: {"memory": 1.0}},
        input_shape=SHAPE,
        folder=tmp_path,
    )
    reason = experiment.run()
    params, memory = experiment.refusals
    assert (params.refused, memory.refused, memory.checked, memory.least) == (96, 0, 0, None)
    smallest = min(range(96), key=lambda i: size(Small().grid_arch(i)).params)
    assert size(experiment.closest.arch).params == size(Small().grid_arch(smallest)).params
    assert "(memory <= 450 was not measured)" in reason
    assert "params <= 1 refused 96 of 96, by " in reason


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


class TestNaN:
    def test_it_meets_no_constraint(self):
        for constraint in (Constraint("energy", "<=", 1), Constraint("energy", ">=", 0)):
            assert constraint.miss(math.nan) == constraint.excess(math.nan) == math.inf
        with pytest.raises(ExperimentError, match="energy <= nan: a bound is a finite number"):
            Constraint("energy", "<=", math.nan)

    def test_an_arch_with_it_is_refused_and_the_search_says_so(self, tmp_path):
        experiment = NasExperiment(
            Small(),
            Counting(),
            Random(seed=1),
            constraints=[Constraint("energy", "<=", 1)],
            measures={"energy": lambda space, arch: {"energy": math.nan}},
            input_shape=SHAPE,
            folder=tmp_path,
        )
        reason = experiment.run()
        assert {record.state for record in experiment.trials} == {"infeasible"}
        assert experiment.trials[0].reason == "energy = nan misses energy <= 1"
        assert "no arch met the constraints" in reason


def test_a_measure_that_nobody_reports_ends_the_search(tmp_path):
    """Not one trial after the other, and never with an arch that nobody has compared with the bound."""
    evaluator = Counting()
    experiment = NasExperiment(
        Small(),
        evaluator,
        Random(seed=1),
        constraints=[Constraint("energy", "<=", 1)],
        measures={"energy": lambda space, arch: {"joule": 0.5}},
        input_shape=SHAPE,
        folder=tmp_path,
    )
    with pytest.raises(ExperimentError, match=r"measures\['energy'\] returned 'joule', so nobody reports energy; return"):
        experiment.run()
    assert evaluator.archs == []


class TestForOptuna:
    """Costs and constraints are where Optuna's plots, its dashboard and its samplers read them."""

    def experiment(self, folder, evaluator=None, **settings):
        given = {
            "constraints": [Constraint("params", "<=", 500), Constraint("macs", ">=", 2000)],
            "objectives": [Objective("default"), Objective("macs", "minimize")],
            "input_shape": SHAPE,
            "seed": 1,
        }
        evaluator, strategy = evaluator or Value(), NSGA2(seed=1)
        return NasExperiment(Small(), evaluator, strategy, folder=folder, max_trials=12, **{**given, **settings})

    def test_a_measure_that_was_not_taken_counts_as_held(self):
        constraints = [Constraint("params", "<=", 500), Constraint("latency_ms", "<=", 2), Constraint("macs", ">=", 2000)]
        assert constraint_attributes(constraints, {"params": 600.0, "macs": 3000.0}) == {"constraints": [100.0, 0.0, -1000.0]}
        assert constraint_attributes((), {"params": 600.0}) == {}

    def test_costs_are_user_attributes(self, tmp_path):
        experiment = self.experiment(tmp_path)
        experiment.run()
        for record, trial in zip(experiment.trials, experiment.study.get_trials(), strict=True):
            assert trial.user_attrs["params"] == size(record.arch).params
            assert trial.user_attrs["macs"] == size(record.arch).macs
            assert ("seed" in trial.user_attrs) == (record.state == "complete")
            assert "default" not in trial.user_attrs  # It is the trial's first value.

    def test_a_failed_trial_has_its_costs(self, tmp_path):
        class Fails(Evaluator):
            def evaluate(self, space, arch, trial):
                raise ValueError("no")

        experiment = self.experiment(tmp_path, Fails())
        experiment.run()
        failed = [trial for trial in experiment.study.get_trials() if trial.state is TrialState.FAIL]
        assert failed
        assert all(trial.user_attrs["params"] <= 500 for trial in failed)

    def test_a_name_that_is_taken_stays_in_the_scores(self, tmp_path):
        experiment = self.experiment(
            tmp_path,
            constraints=[Constraint("seconds", "<=", 4)],
            measures={"seconds": lambda space, arch: {"seconds": float(arch["width"])}},
            objectives=[Objective("default")],
        )
        experiment.run()
        for record, trial in zip(experiment.trials, experiment.study.get_trials(), strict=True):
            assert record.scores["seconds"] == record.arch["width"]
            assert trial.user_attrs["seconds"] < 1  # The duration of the trial.

    def test_optuna_knows_who_is_feasible(self, tmp_path):
        experiment = self.experiment(tmp_path)
        experiment.run()
        states = set()
        for record, trial in zip(experiment.trials, experiment.study.get_trials(), strict=True):
            states.add(record.state)
            over, under = trial.system_attrs["constraints"]
            assert over == size(record.arch).params - 500
            assert under == 2000 - size(record.arch).macs
            assert (record.state == "infeasible") == any(value > 0 for value in (over, under))
        assert states == {"complete", "infeasible"}
        front = {trial.number for trial in experiment.study.best_trials}
        assert front == {record.number for record in experiment.pareto_front}

    def test_plot_pareto_front(self, tmp_path):
        pytest.importorskip("matplotlib")
        experiment = self.experiment(tmp_path)
        experiment.run()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # It is experimental, and constraints_func is deprecated since Optuna 5.
            axes = optuna.visualization.matplotlib.plot_pareto_front(
                experiment.study, constraints_func=lambda trial: trial.system_attrs["constraints"]
            )
        drawn = sum(len(points.get_offsets()) for points in axes.collections)
        assert drawn == sum(record.state == "complete" for record in experiment.trials)

    def test_an_earlier_study_without_them_goes_on_without_them(self, tmp_path):
        """Optuna's GPSampler refuses a study in which only some trials have constraints."""
        experiment = self.experiment(tmp_path)
        experiment.config.max_trial_number = 4
        experiment.run()
        file = tmp_path / "study.journal"
        lines = [line for line in file.read_text().splitlines() if '"constraints"' not in line]
        file.write_text("\n".join(lines) + "\n")
        resumed = self.experiment(tmp_path, name=experiment.name)
        resumed.run()
        assert len(resumed.export_data()) == 12
        assert not any("constraints" in trial.system_attrs for trial in resumed.study.get_trials())
