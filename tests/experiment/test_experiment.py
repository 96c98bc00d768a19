"""What an experiment does from its beginning to its end."""

from __future__ import annotations

import multiprocessing
import threading
import time

import optuna
import pytest
import torch

from hubserve.errors import ExperimentError
from hubserve.evaluator import Evaluator, FunctionalEvaluator, Objective
from hubserve.experiment import ExperimentConfig, NasExperiment
from hubserve.strategy import (
    NSGA2,
    TPE,
    Chain,
    Deduplication,
    GridSearch,
    LocalSearch,
    PolicyBasedRL,
    Random,
    RegularizedEvolution,
)
from hubserve.training.trial_weights import save_weights
from tests.experiment.small import SIZE, Small, Two, Value, parameters, trial_number, value


def run(tmp_path, evaluator=None, strategy=None, **settings):
    experiment = NasExperiment(Small(), evaluator or Value(), strategy or Random(seed=1), folder=tmp_path, seed=5, **settings)
    experiment.run()
    return experiment


def history(experiment):
    return [(record.number, record.state, record.arch, record.scores) for record in experiment.trials]


STRATEGIES = {
    "random": lambda: Random(seed=3),
    "grid": lambda: GridSearch(seed=3),
    "evolution": lambda: RegularizedEvolution(population_size=5, sample_size=2, seed=3),
    "tpe": lambda: TPE(n_startup_trials=5, seed=3),
    "rl": lambda: PolicyBasedRL(samples_per_update=5, seed=3),
    "optuna": lambda: optuna.samplers.RandomSampler(seed=3),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_seed_gives_the_same_history(name, tmp_path):
    first = run(tmp_path / "a", strategy=STRATEGIES[name](), max_trials=15)
    assert len(first.trials) == 15
    assert all(record.scores["default"] == value(record.arch) for record in first.trials)
    assert history(first) == history(run(tmp_path / "b", strategy=STRATEGIES[name](), max_trials=15))


def test_the_best_come_first_and_an_arch_once(tmp_path):
    experiment = run(tmp_path, strategy=Random(dedup=False, seed=1), max_trials=60)
    values = sorted({value(record.arch) for record in experiment.trials}, reverse=True)
    assert len(values) < 60
    assert [value(arch) for arch in experiment.export_top_models(5)] == values[:5]
    assert [record.scores["default"] for record in experiment.top_trials(5)] == values[:5]


def test_smaller_is_better_where_the_evaluator_says_so(tmp_path):
    evaluator = FunctionalEvaluator(parameters, objectives=(Objective("size", "minimize"),))
    experiment = run(tmp_path, evaluator, max_trials=20)
    sizes = [parameters(Small().freeze(record.arch)) for record in experiment.trials]
    (best,) = experiment.export_top_models(formatter="instance")
    assert parameters(best) == min(sizes)


def test_networks_come_with_the_weights_of_their_trial(tmp_path):
    class Saving(Evaluator):
        def evaluate(self, space, arch, trial):
            torch.manual_seed(trial.seed)
            save_weights(space.freeze(arch), trial.folder)
            return {"default": value(arch)}

    experiment = run(tmp_path, Saving(), max_trials=4)
    best = experiment.top_trials()[0]
    torch.manual_seed(int(Random_seed(experiment, best.number)))
    expected = Small().freeze(best.arch).state_dict()
    model = experiment.best_model()
    assert not model.training
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def test_the_weights_of_the_best_stay(tmp_path):
    class Saving(Evaluator):
        def evaluate(self, space, arch, trial):
            save_weights(space.freeze(arch), trial.folder)
            return {"default": value(arch)}

    experiment = run(tmp_path, Saving(), max_trials=12, keep_weights=3)
    kept = {int(path.parent.name) for path in tmp_path.glob("trials/*/weights.safetensors")}
    assert kept == {record.number for record in experiment.top_trials(3)}


def Random_seed(experiment, number):  # noqa: N802
    from random import Random as Rng

    return Rng(f"{experiment._settings.seed}/{number}").randrange(2**31)


def test_an_exhausted_space_ends_the_search(tmp_path):
    experiment = run(tmp_path, strategy=GridSearch(seed=1))
    assert "exhausted" in experiment.stop_reason
    assert len(experiment.trials) == SIZE
    assert [record.state for record in experiment.trials] == ["complete"] * SIZE
    assert len({value(record.arch) for record in experiment.trials}) == SIZE
    assert value(experiment.export_top_models()[0]) == pytest.approx(9.552)
    # Asked again, it ends again, and no trial is added.
    assert "exhausted" in experiment.run()
    assert len(experiment.trials) == SIZE


def test_a_strategy_that_repeats_itself_ends_too(tmp_path):
    # Hundreds of trials: a file would wait for the disk at the end of each.
    memory = optuna.storages.InMemoryStorage()
    experiment = run(tmp_path, strategy=Random(dedup=False, seed=1), storage=memory)
    assert experiment.stop_reason == "the space is exhausted: each of its 96 archs had a trial"
    assert len(experiment.trials) > SIZE
    assert len({value(record.arch) for record in experiment.trials}) == SIZE
    more = run(tmp_path / "more", strategy=GridSearch(dedup=False, seed=1), repeat=True, max_trials=SIZE + 10, storage=memory)
    assert len(more.trials) == SIZE + 10


def test_the_time_ends_it(tmp_path):
    def slow(model):
        time.sleep(0.05)
        return 1.0

    experiment = run(tmp_path, FunctionalEvaluator(slow), max_trials=80, max_seconds=0.5)
    assert "time" in experiment.stop_reason
    assert 1 <= len(experiment.trials) < 80
    # What was spent counts when it goes on.
    count = len(experiment.trials)
    again = NasExperiment(
        Small(), FunctionalEvaluator(slow), Random(seed=1), name=experiment.name, folder=tmp_path, max_seconds=0.5
    )
    again.resume()
    assert len(again.trials) <= count + 8


def test_it_stops_when_asked(tmp_path):
    reported = []

    def on_trial(record):
        reported.append(record.number)
        if len(reported) == 3:
            experiment.stop()

    experiment = NasExperiment(Small(), Value(), Random(seed=1), max_trials=50, folder=tmp_path, on_trial=on_trial)
    assert experiment.run() == "stopped on request"
    assert reported == [0, 1, 2]
    assert experiment.stop_reason == "stopped on request"
    thread = threading.Timer(0.1, experiment.stop)
    thread.start()
    experiment.run()


def test_failed_trials_are_kept_and_the_search_goes_on(tmp_path):
    def sometimes(model):
        if parameters(model) % 3 == 0:
            raise RuntimeError("a third")
        return parameters(model)

    experiment = run(tmp_path, FunctionalEvaluator(sometimes), max_trials=30)
    failed = [record for record in experiment.trials if record.state == "failed"]
    assert 0 < len(failed) < 30
    assert all("RuntimeError: a third" in record.reason and "test_experiment.py" in record.reason for record in failed)
    assert all(record.scores == {} for record in failed)
    assert len(experiment.export_data()) == 30 - len(failed)


def test_a_search_in_which_everything_fails_ends(tmp_path):
    def broken(model):
        raise RuntimeError("no data")

    experiment = run(tmp_path, FunctionalEvaluator(broken), max_trials=90)
    assert "20 trials in a row failed" in experiment.stop_reason
    assert "no data" in experiment.stop_reason
    assert len(experiment.trials) == 20
    with pytest.raises(ExperimentError, match=r"no complete trial.*no data"):
        experiment.best_model()


@pytest.mark.parametrize("scores", [{"other": 1.0}, {"default": float("nan")}])
def test_scores_without_a_number_for_the_objective_fail(tmp_path, scores):
    class Wrong(Evaluator):
        def evaluate(self, space, arch, trial):
            return scores

    experiment = run(tmp_path, Wrong(), max_trials=1)
    assert experiment.trials[0].state == "failed"
    assert "default" in experiment.trials[0].reason


def test_several_objectives_have_a_front(tmp_path):
    experiment = run(tmp_path, Two(), NSGA2(population_size=6, seed=1), max_trials=40)
    done = [(record.scores["value"], -record.scores["cost"]) for record in experiment.trials]
    front = {(record.scores["value"], -record.scores["cost"]) for record in experiment.pareto_front}
    expected = {p for p in done if not any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in done)}
    assert front == expected
    assert len(front) > 2
    top = experiment.top_trials(len(front))
    assert {(record.scores["value"], -record.scores["cost"]) for record in top} == front
    assert top[0].scores["value"] == max(v for v, _ in front)


@pytest.mark.parametrize("strategy", [RegularizedEvolution(), Chain(PolicyBasedRL(), Deduplication()), LocalSearch()])
def test_a_strategy_for_one_objective_is_refused_before_the_first_trial(strategy, tmp_path):
    with pytest.raises(ExperimentError, match=r"objectives: value, cost: .* improves one; choose NSGA2"):
        NasExperiment(Small(), Two(), strategy, folder=tmp_path / "e")
    assert not (tmp_path / "e").exists()
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=strategy)
    with pytest.raises(ValueError, match="searches for one objective and the study has 2"):
        study.ask()


def test_trials_are_pruned_by_what_they_report(tmp_path):
    class Stepwise(Evaluator):
        def evaluate(self, space, arch, trial):
            for step in range(5):
                trial.report(step, value(arch))
            return {"default": value(arch)}

    pruner = optuna.pruners.ThresholdPruner(lower=5.0, n_warmup_steps=2)
    experiment = run(tmp_path, Stepwise(), max_trials=25, pruner=pruner)
    for record in experiment.trials:
        pruned = value(record.arch) < 5.0
        assert record.state == ("pruned" if pruned else "complete")
        assert len(record.intermediate) == (3 if pruned else 5)
    assert {record.state for record in experiment.trials} == {"pruned", "complete"}


def test_functions_report_by_context(tmp_path):
    experiment = run(tmp_path, FunctionalEvaluator(trial_number), max_trials=4)
    assert [record.scores["default"] for record in experiment.trials] == [0, 1, 2, 3]


def test_any_storage_of_optuna(tmp_path):
    for storage in (f"sqlite:///{tmp_path}/study.db", tmp_path / "other.journal", optuna.storages.InMemoryStorage()):
        experiment = run(tmp_path / "f", storage=storage, max_trials=3)
        assert len(experiment.trials) == 3
    # The tables are Optuna's own, which its dashboard reads.
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{tmp_path}/study.db")
    assert summary.n_trials == 3
    assert (tmp_path / "other.journal").stat().st_size > 0


def test_another_search_under_the_same_name_is_refused(tmp_path):
    run(tmp_path, name="mine", max_trials=2)
    for space, evaluator in ((Small(num_labels=5), Value()), (Small(), Two())):
        with pytest.raises(ExperimentError, match="'mine' was begun with"):
            NasExperiment(space, evaluator, Random(seed=1), name="mine", folder=tmp_path, max_trials=4).run()
    with pytest.raises(ExperimentError, match=r"no experiment 'yours'.*run"):
        NasExperiment(Small(), Value(), Random(seed=1), name="yours", folder=tmp_path, max_trials=4).resume()


def test_two_processes_do_not_run_one_experiment(tmp_path):
    def hold(ready, over):
        def wait(model):
            ready.set()
            over.wait(60)
            return 1.0

        run(tmp_path, FunctionalEvaluator(wait), name="mine", max_trials=1)

    context = multiprocessing.get_context("fork")
    ready, over = context.Event(), context.Event()
    process = context.Process(target=hold, args=(ready, over))
    process.start()
    assert ready.wait(60)
    with pytest.raises(ExperimentError, match="another process"):
        run(tmp_path, name="mine", max_trials=2)
    over.set()
    process.join(60)
    assert process.exitcode == 0


def test_nni_s_names_are_understood(tmp_path):
    config = ExperimentConfig(max_trial_number=6)
    experiment = NasExperiment(Small(), Value(), Random(seed=1), config, folder=tmp_path)
    experiment.config.max_trial_number = 3
    experiment.config.max_experiment_duration = "5m"
    experiment.run()
    assert experiment.config.max_seconds == 300
    assert [job.number for job in experiment.list_trial_jobs()] == [0, 1, 2]
    with pytest.raises(ExperimentError, match="max_trial_number"):
        experiment.config.max_trial_numbers = 3
    with pytest.raises(ExperimentError, match="'1x'"):
        experiment.config.max_experiment_duration = "1x"
    with pytest.raises(ExperimentError, match="formatter = 'code'"):
        experiment.export_top_models(formatter="code")


def test_a_bar_is_shown(tmp_path, capsys):
    run(tmp_path, max_trials=3, progress=True)
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "best default" in shown
