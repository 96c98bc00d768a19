"""Policy-based search: it learns from rewards, in the order in which trials end."""

from __future__ import annotations

import optuna
import pytest
from optuna.trial import TrialState

from hubserve.errors import StrategyError
from hubserve.experiment import open_storage
from hubserve.hub import NasBench201
from hubserve.strategy import PolicyBasedRL, suggest_arch
from hubserve.strategy.ppo import Ppo
from tests.experiment.test_set_back_clock import BackwardClock

SPACE = NasBench201()


def search(strategy, score, n, direction="maximize"):
    study = optuna.create_study(direction=direction, sampler=strategy)
    scores = []
    for _ in range(n):
        trial = study.ask()
        scores.append(score(suggest_arch(trial, SPACE)))
        study.tell(trial, scores[-1])
    return scores


def convolutions(arch):
    return sum(value == "conv_3x3" for value in arch.values())


@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_learns_a_toy_reward(direction, sign):
    strategy = PolicyBasedRL(samples_per_update=10, seed=0)
    scores = search(strategy, lambda arch: sign * convolutions(arch), 150, direction)
    early, late = (sign * sum(part) / 30 for part in (scores[:30], scores[-30:]))
    assert early < 2
    assert late > early + 2


def test_does_not_learn_where_nothing_is_reported():
    scores = search(PolicyBasedRL(samples_per_update=10, seed=0), lambda arch: 1.0, 60)
    assert set(scores) == {1.0}


def test_a_failed_trial_teaches_what_it_is_said_to_be_worth():
    strategy = PolicyBasedRL(samples_per_update=10, reward_for_invalid=0.0, seed=0)
    study = optuna.create_study(direction="maximize", sampler=strategy)
    failed = []
    for _ in range(150):
        trial = study.ask()
        failed.append(suggest_arch(trial, SPACE)["cell/0_1"] == "none")
        study.tell(trial, None if failed[-1] else 1.0, state=TrialState.FAIL if failed[-1] else TrialState.COMPLETE)
    assert sum(failed[:50]) > 9
    assert sum(failed[-50:]) <= sum(failed[:50]) / 2


def test_trials_that_end_late_undo_no_update(monkeypatch):
    updates = []
    monkeypatch.setattr(Ppo, "update", lambda self, policy, trials, rewards: updates.append(rewards))
    strategy = PolicyBasedRL(samples_per_update=4, seed=0)
    strategy.bind(SPACE)
    study = optuna.create_study(direction="maximize", sampler=strategy)
    trials = [study.ask() for _ in range(13)]
    for trial in trials:
        suggest_arch(trial, SPACE)
    # The first trial ends last; each update learns from four more trials, in the order in which they ended.
    order = [*range(1, 13), 0]
    for number in order:
        study.tell(trials[number], float(number))
        study.ask()
    assert updates == [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0], [9.0, 10.0, 11.0, 12.0]]
    # Another process that takes the study up makes the same updates.
    study.sampler = PolicyBasedRL(samples_per_update=4, seed=0)
    study.ask()
    assert updates[3:] == updates[:3]


@pytest.mark.parametrize("storage", ["memory", "journal"])
def test_a_clock_that_is_set_back_changes_no_order(storage, monkeypatch, tmp_path):
    updates = []
    monkeypatch.setattr(Ppo, "update", lambda self, policy, trials, rewards: updates.append(rewards))
    where = {"memory": "optuna.storages._in_memory", "journal": "optuna.storages.journal._storage"}[storage]
    monkeypatch.setattr(f"{where}.datetime", BackwardClock)
    strategy = PolicyBasedRL(samples_per_update=4, seed=0)
    strategy.bind(SPACE)
    opened = open_storage(tmp_path / "study.journal") if storage == "journal" else None
    study = optuna.create_study(direction="maximize", sampler=strategy, storage=opened)
    trials = [study.ask() for _ in range(9)]
    for trial in trials:
        suggest_arch(trial, SPACE)
    order = [3, 1, 2, 0, 8, 7, 6, 5, 4]
    for number in order:
        study.tell(trials[number], float(number))
        study.ask()
    assert updates == [[3.0, 1.0, 2.0, 0.0], [8.0, 7.0, 6.0, 5.0]]
    study.sampler = PolicyBasedRL(samples_per_update=4, seed=0)
    study.ask()
    assert updates[2:] == updates[:2]


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"samples_per_update": 1}, "samples_per_update = 1 must be at least 2"),
        ({"replay_buffer_size": 5}, "replay_buffer_size = 5 must be at least 20"),
        ({"epochs": 0}, "epochs = 0 must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate = -1.0 must be at least 0"),
        ({"clip": 2.0}, "clip = 2.0 is a probability"),
        ({"update_kwargs": {"repeats": 5}}, r"update_kwargs has 'repeats'. Did you mean repeat\?"),
        ({"update_kwargs": {"batch_size": 1}}, "batch_size = 1 must be at least 2"),
    ],
)
def test_senseless_settings(settings, complaint):
    with pytest.raises(StrategyError, match=complaint):
        PolicyBasedRL(**settings)


def test_several_objectives_are_refused():
    with pytest.raises(StrategyError, match="one objective and the study has 2"):
        optuna.create_study(directions=["maximize", "minimize"], sampler=PolicyBasedRL()).ask()


@pytest.mark.parametrize("with_choice", [False, True])
def test_parameters_that_are_no_categories_are_drawn_and_not_learned_from(with_choice):
    """In a study that has only such ones, no update has anything to learn from."""

    def objective(trial):
        choice = trial.suggest_categorical("choice", ("a", "b")) if with_choice and trial.number % 2 else "a"
        return trial.suggest_float("x", 0, 1) + trial.suggest_int("n", 1, 3) + (choice == "b")

    study = optuna.create_study(direction="maximize", sampler=PolicyBasedRL(samples_per_update=4, seed=0))
    study.optimize(objective, n_trials=24)
    assert len({trial.params["x"] for trial in study.get_trials()}) == 24
    assert study.best_value > 3.5
