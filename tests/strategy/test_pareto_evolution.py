"""`ParetoEvolution` mutates archs of the Pareto front."""

from __future__ import annotations

import optuna

from hubserve.hub import NasBench201
from hubserve.strategy import ParetoEvolution, suggest_arch, trial_arch

SPACE = NasBench201()


def test_each_arch_is_a_mutation_of_the_front_before_it():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=ParetoEvolution(initial=5, seed=2))
    for number in range(40):
        front = [trial_arch(trial, SPACE) for trial in study.best_trials]
        trial = study.ask()
        arch = suggest_arch(trial, SPACE)
        if number >= 5:
            assert min(sum(arch[label] != parent[label] for label in arch) for parent in front) == 1
        study.tell(trial, [list(arch.values()).count(op) for op in ("conv_3x3", "conv_1x1")])
    assert len({tuple(sorted(trial.params.items())) for trial in study.trials}) == 40


def test_one_objective_climbs_to_the_optimum():
    study = optuna.create_study(direction="maximize", sampler=ParetoEvolution(initial=3, seed=0))
    study.optimize(lambda trial: list(suggest_arch(trial, SPACE).values()).count("conv_3x3"), n_trials=120)
    assert study.best_value == 6


def test_failed_trials_are_no_parents():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=ParetoEvolution(initial=1, seed=0))
    for _ in range(6):
        trial = study.ask()
        suggest_arch(trial, SPACE)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 6
