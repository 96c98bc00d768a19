"""Regularized evolution: the oldest dies, a tournament, exactly one mutation, a population that follows the budget."""

from __future__ import annotations

import itertools
from random import Random as Rng

import optuna
import pytest
from optuna.trial import TrialState

from hubserve.errors import StrategyError
from hubserve.hub import NasBench201
from hubserve.strategy import RegularizedEvolution, suggest_arch, trial_arch

SPACE = NasBench201()


def run(strategy, scores, direction="maximize", space=SPACE):
    """A study in which trial i gets scores[i]; and its archs."""
    strategy.bind(space)
    study = optuna.create_study(direction=direction, sampler=strategy)
    for score in scores:
        trial = study.ask()
        suggest_arch(trial, space)
        study.tell(trial, score)
    return study, [trial_arch(trial, space) for trial in study.get_trials()]


def differing(first, second):
    return [label for label in first if first[label] != second[label]]


class Certain(RegularizedEvolution):
    """With a tournament so large that the best of the population takes part in it."""

    @property
    def sample_size(self):
        return 50 * self.population_size


def certain(population_size, seed):
    return Certain(population_size, dedup=False, seed=seed)


class TestMutation:
    def test_changes_exactly_one_choice(self):
        # With one alive, the child's parent is the trial before it.
        _, archs = run(RegularizedEvolution(1, 1, dedup=False, seed=0), range(60))
        changed = [differing(parent, child) for parent, child in itertools.pairwise(archs)]
        assert all(len(labels) == 1 for labels in changed)
        assert {labels[0] for labels in changed} == set(SPACE.choices)

    def test_probability_changes_at_least_one(self):
        _, archs = run(RegularizedEvolution(1, 1, mutation_prob=0.5, dedup=False, seed=0), range(60))
        counts = [len(differing(parent, child)) for parent, child in itertools.pairwise(archs)]
        assert max(counts) > 2
        none = RegularizedEvolution(1, 1, mutation_prob=0.0, dedup=False, seed=0)
        _, archs = run(none, range(20))
        assert all(len(differing(parent, child)) == 1 for parent, child in itertools.pairwise(archs))

    def test_crossover_takes_each_choice_from_a_parent(self):
        strategy = RegularizedEvolution(2, 2, crossover=True, dedup=False, seed=0)
        _, archs = run(strategy, range(2))
        _, archs = run(RegularizedEvolution(2, 2, crossover=True, dedup=False, seed=1), [1.0] * 40)
        mixed = 0
        for i in range(2, 40):
            first, second, child = archs[i - 2], archs[i - 1], archs[i]
            foreign = [label for label in child if child[label] not in (first[label], second[label])]
            assert len(foreign) <= 1
            mixed += len(differing(first, child)) > 1 and len(differing(second, child)) > 1
        assert mixed > 0


class TestPopulation:
    def test_the_oldest_dies_even_if_it_is_the_best(self):
        # The best by far is the first; once it is too old, no child comes from it.
        n = 5
        _, archs = run(certain(n, seed=3), [100.0] + [1.0] * 30)
        # While the first lives, a tournament that all take part in finds it.
        for child in archs[n : n + 1]:
            assert len(differing(archs[0], child)) == 1
        # After that all are equal, and a child differs in one choice from one of the last five.
        for i in range(n + 1, len(archs)):
            assert any(len(differing(parent, archs[i])) == 1 for parent in archs[i - n : i])

    @pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
    def test_the_best_of_a_tournament_is_the_parent(self, direction, sign):
        rng = Rng(0)
        scores = [rng.random() for _ in range(40)]
        _, archs = run(certain(8, seed=2), scores, direction)
        for i in range(8, 40):
            best = max(range(i - 8, i), key=lambda j: sign * scores[j])
            assert len(differing(archs[best], archs[i])) == 1

    def test_a_tournament_of_one_is_a_random_parent(self):
        _, archs = run(RegularizedEvolution(6, 1, dedup=False, seed=0), [float(i == 0) for i in range(7)] * 5)
        ages = [next(age for age in range(1, 7) if len(differing(archs[i - age], archs[i])) == 1) for i in range(6, len(archs))]
        assert len(set(ages)) > 3

    def test_failed_trials_do_not_count(self):
        strategy = RegularizedEvolution(3, 3, seed=0)
        strategy.bind(SPACE)
        study = optuna.create_study(direction="maximize", sampler=strategy)
        for state in (TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE) * 3:
            trial = study.ask()
            suggest_arch(trial, SPACE)
            study.tell(trial, 1.0 if state is TrialState.COMPLETE else None, state=state)
        trial = study.ask()
        child = suggest_arch(trial, SPACE)
        alive = [trial_arch(t, SPACE) for t in study.get_trials() if t.state is TrialState.COMPLETE]
        assert any(len(differing(parent, child)) == 1 for parent in alive)

    @pytest.mark.parametrize(
        ("budget", "population", "sample"),
        [(None, 20, 8), (10, 5, 2), (30, 15, 6), (50, 20, 8), (500, 20, 8), (1000, 40, 16), (9999, 100, 40)],
    )
    def test_follows_the_budget(self, budget, population, sample):
        strategy = RegularizedEvolution(seed=0)
        strategy.bind(SPACE, max_trials=budget)
        assert (strategy.population_size, strategy.sample_size) == (population, sample)

    def test_what_was_asked_for_stays(self):
        strategy = RegularizedEvolution(100, 25)
        strategy.bind(SPACE, max_trials=50)
        assert (strategy.population_size, strategy.sample_size) == (100, 25)
        assert RegularizedEvolution(sample_size=25).population_size == 25


def test_dedup_counts_failed_and_running_trials():
    strategy = RegularizedEvolution(2, 2, seed=0)
    strategy.bind(SPACE)
    study = optuna.create_study(direction="maximize", sampler=strategy)
    for number in range(60):
        trial = study.ask()
        suggest_arch(trial, SPACE)
        if number % 3 == 0:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 3 == 1:
            study.tell(trial, 1.0)
    archs = [repr(trial_arch(trial, SPACE)) for trial in study.get_trials()]
    assert len(set(archs)) == 60


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"population_size": 0}, "population_size = 0 must be at least 1"),
        ({"sample_size": 0}, "sample_size = 0 must be at least 1"),
        ({"population_size": 5, "sample_size": 6}, "sample_size = 6 is more than population_size = 5"),
        ({"mutation_prob": 1.5}, "mutation_prob = 1.5 is a probability"),
    ],
)
def test_senseless_settings(settings, complaint):
    with pytest.raises(StrategyError, match=complaint):
        RegularizedEvolution(**settings)


def test_several_objectives_are_refused():
    strategy = RegularizedEvolution()
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=strategy)
    with pytest.raises(StrategyError, match="one objective and the study has 2; use NSGA2"):
        study.ask()


def test_one_mutation_where_parameters_are_asked_one_by_one():
    study = optuna.create_study(direction="maximize", sampler=RegularizedEvolution(1, 1, seed=0))

    def objective(trial):
        return sum(trial.suggest_categorical(f"p{i}", (1, 2, 3)) for i in range(6))

    study.optimize(objective, n_trials=30)
    params = [trial.params for trial in study.get_trials()]
    assert all(len(differing(parent, child)) == 1 for parent, child in itertools.pairwise(params))
