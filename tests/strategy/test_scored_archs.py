"""What strategies with a model read from a study, and the neighbours of an arch."""

from __future__ import annotations

from random import Random as Rng

import optuna
import pytest
from optuna.trial import TrialState

from hubserve.hub import NasBench201
from hubserve.strategy import LocalSearch, PairwiseGP, Random, suggest_arch, trial_arch
from hubserve.strategy.scored_archs import ScoredArchs, front_archs, neighbours, running_archs
from tests.strategy.conformance import Small

SPACE = NasBench201()


def finished(direction: str) -> optuna.Study:
    """A complete, a failed, a pruned, another complete and a running trial."""
    study = optuna.create_study(direction=direction, sampler=Random(seed=1))
    for number, value in enumerate((5.0, None, 3.0, 7.0, None)):
        trial = study.ask()
        suggest_arch(trial, SPACE)
        if number == 1:
            study.tell(trial, state=TrialState.FAIL)
        elif number == 2:
            trial.report(value, 1)
            study.tell(trial, state=TrialState.PRUNED)
        elif value is not None:
            study.tell(trial, value)
    return study


@pytest.mark.parametrize(("direction", "expected"), [("maximize", [5, 3, 3, 7]), ("minimize", [-5, -7, -3, -7])])
def test_failed_trials_have_the_lowest_score(direction, expected):
    study = finished(direction)
    scored = ScoredArchs.of(study, SPACE)
    assert scored.scores[:, 0].tolist() == expected
    assert scored.archs == [trial_arch(trial, SPACE) for trial in study.trials[:4]]


def test_a_study_of_failures_has_no_scores():
    study = optuna.create_study(sampler=Random(seed=1))
    trial = study.ask()
    suggest_arch(trial, SPACE)
    study.tell(trial, state=TrialState.FAIL)
    assert ScoredArchs.of(study, SPACE).archs == []


def test_the_front_has_the_archs_that_no_other_one_dominates():
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=Random(seed=1))
    archs = []
    for values in [(3, 3), (1, 1), (2, 3), (3, 3), (0, 1), (4, 9)]:
        trial = study.ask()
        archs.append(suggest_arch(trial, SPACE))
        study.tell(trial, values)
    assert front_archs(study, SPACE) == [archs[0], archs[1], archs[3], archs[5]]


def test_neighbours_are_all_archs_with_one_other_answer():
    arch = SPACE.random(Rng(0))
    found = list(neighbours(SPACE, arch, Rng(1)))
    assert len(found) == len({tuple(each.values()) for each in found}) == 6 * 4
    assert all(sum(each[label] != arch[label] for label in arch) == 1 for each in found)


def test_neighbours_obey_conditions_and_rules():
    space = Small()
    for arch in map(space.grid_arch, range(space.grid_size)):
        assert all(space.canonical(each) == each for each in neighbours(space, arch, Rng(1)))


def test_local_search_climbs_to_the_optimum():
    study = optuna.create_study(direction="maximize", sampler=LocalSearch(initial=2, seed=3))
    study.optimize(lambda trial: sum(op == "conv_3x3" for op in suggest_arch(trial, SPACE).values()), n_trials=150)
    assert study.best_value == 6
    first = next(trial.number for trial in study.trials if trial.value == 6)
    near = [sum(op != "conv_3x3" for op in trial.params.values()) for trial in study.trials[first + 1 : first + 19]]
    assert set(near) <= {1, 2}, "it looks at neighbours of the best arch"


def after_trials(count: int, strategy: PairwiseGP) -> optuna.Study:
    """A study whose score is the number of convolutions of 3 x 3 in a cell."""
    study = optuna.create_study(direction="maximize", sampler=strategy)
    for _ in range(count):
        trial = study.ask()
        study.tell(trial, sum(op == "conv_3x3" for op in suggest_arch(trial, SPACE).values()))
    return study


def test_a_refused_arch_is_followed_by_another():
    study = after_trials(6, PairwiseGP(initial=2, seed=3))
    trial = study.ask()
    frozen = study.trials[trial.number]
    proposed = [tuple(study.sampler.propose(study, frozen).values()) for _ in range(20)]
    assert len(set(proposed[:20])) >= 19


def test_archs_of_running_trials_are_those_of_the_others():
    study = optuna.create_study(sampler=Random(seed=1))
    archs, trials = [], []
    for _ in range(3):
        trials.append(study.ask())
        archs.append(suggest_arch(trials[-1], SPACE))
    study.tell(trials[0], 1.0)
    study.ask()
    assert running_archs(study, SPACE, study.trials[2]) == [archs[1]]


def test_a_running_trial_turns_the_next_one_elsewhere():
    """Without it, the arch that promised second most would be next, which is more like the running one."""
    study = after_trials(8, PairwiseGP(initial=8, seed=3))
    running = study.ask()
    first = suggest_arch(running, SPACE)
    second = study.sampler.propose(study, study.trials[running.number])
    other = suggest_arch(study.ask(), SPACE)
    assert sum(first[label] != second[label] for label in first) < sum(first[label] != other[label] for label in first)
