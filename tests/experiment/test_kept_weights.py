"""Which trials keep their weights: the best archs and the Pareto front, found without looking at the others again."""

from __future__ import annotations

from random import Random as Rng

import optuna
import pytest
from optuna.trial import TrialState

from hubserve.experiment.kept_weights import KeptWeights
from hubserve.experiment.top_models import ranked
from hubserve.strategy import GridSearch, suggest_arch
from tests.experiment.small import Small

SPACE = Small()


class Search:
    """Trials with made-up scores, each of which leaves weights."""

    def __init__(self, folder, directions, keep=3):
        self.folder, self.keep = folder, keep
        self.study = optuna.create_study(directions=directions, sampler=GridSearch(seed=1))
        self.weights = self.opened()

    def opened(self):
        return KeptWeights(self.study, SPACE, self.folder, self.keep)

    def begin(self):
        trial = self.study.ask()
        suggest_arch(trial, SPACE)
        path = self.folder / f"{trial.number:06d}" / "weights.safetensors"
        path.parent.mkdir(parents=True)
        path.touch()
        return trial

    def end(self, trial, values, state=None):
        self.weights.update(self.study.tell(trial, values, state=state))

    @property
    def kept(self):
        return {int(path.parent.name) for path in self.folder.glob("*/weights.safetensors")}

    def expected(self):
        """What the whole study says."""
        best = [trial.number for trial in ranked(self.study, SPACE)[: self.keep]]
        return {*best, *(trial.number for trial in self.study.best_trials)}


@pytest.mark.parametrize("directions", [["maximize"], ["minimize"], ["maximize", "minimize"], ["minimize"] * 3], ids="/".join)
def test_they_are_those_that_the_whole_study_ranks_first(tmp_path, directions):
    search, rng = Search(tmp_path, directions), Rng(1)
    for _ in range(40):
        search.end(search.begin(), [float(rng.randrange(12)) for _ in directions])
        assert search.expected() <= search.kept
        if len(directions) == 1:
            assert search.kept == search.expected() or len(search.study.trials) <= search.keep
    assert len(search.kept) < 40


def test_failed_trials_lose_theirs_and_running_ones_do_not(tmp_path):
    search = Search(tmp_path, ["maximize"], keep=1)
    running = search.begin()
    search.end(search.begin(), None, TrialState.FAIL)
    search.end(search.begin(), 1.0)
    search.end(search.begin(), 2.0)
    assert search.kept == {running.number, 3}
    search.end(running, 3.0)
    assert search.kept == {running.number}


def test_another_process_goes_on(tmp_path):
    search = Search(tmp_path, ["maximize", "minimize"], keep=2)
    for values in ([1, 1], [2, 2], [0, 3], [3, 3]):
        search.end(search.begin(), values)
    assert search.kept == {0, 1, 3}
    search.weights = search.opened()
    search.end(search.begin(), [4, 0])
    assert search.kept == {4, 3}


def test_the_cost_of_a_trial_does_not_grow_with_the_study(tmp_path, monkeypatch):
    search = Search(tmp_path, ["maximize"])
    for value in range(30):
        search.end(search.begin(), float(value))
    monkeypatch.setattr(search.study, "get_trials", None)
    monkeypatch.setattr("pathlib.Path.glob", None)
    search.weights.update(search.study._storage.get_trial(29))
