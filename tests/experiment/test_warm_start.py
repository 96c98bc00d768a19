"""A search that begins with the trials of earlier ones: which are added, and which studies are refused."""

from __future__ import annotations

import optuna
import pytest
import torch

from hubserve.errors import ExperimentError
from hubserve.evaluator import Evaluator, Objective
from hubserve.experiment import Constraint, NasExperiment, open_storage
from hubserve.experiment import warm_start as module
from hubserve.strategy import GridSearch, Random, RegularizedEvolution
from hubserve.training.trial_weights import save_weights
from tests.experiment.small import SHAPE, Small, Two, Value, value
from tests.experiment.test_experiment import STRATEGIES


class Saving(Evaluator):
    def evaluate(self, space, arch, trial):
        torch.manual_seed(trial.seed)
        save_weights(space.freeze(arch), trial.folder)
        return {"default": value(arch)}


def searched(folder, evaluator=None, strategy=None, space=None, **settings):
    experiment = NasExperiment(
        space or Small(), evaluator or Value(), strategy or Random(seed=1), folder=folder, name=folder.name, seed=5, **settings
    )
    experiment.run()
    return experiment


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    return searched(tmp_path_factory.mktemp("all") / "earlier", max_trials=10)


def values(experiment):
    return [(record.arch, record.scores["default"]) for record in experiment.trials]


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_goes_on_after_the_trials_of_another(name, earlier, tmp_path):
    later = searched(tmp_path / "later", strategy=STRATEGIES[name](), warm_start=[earlier.folder], max_trials=12)
    assert values(later)[:10] == values(earlier)
    assert [record.earlier for record in later.trials] == [("earlier", i) for i in range(10)] + [None] * 12
    assert len(later.trials) == 22
    assert later.warm_start_notes == ["10 of 10 complete trials of earlier were added"]
    if name in ("random", "grid", "evolution"):  # Those do not repeat what was tried.
        assert len({repr(record.arch) for record in later.trials}) == 22
    again = searched(tmp_path / "again", strategy=STRATEGIES[name](), warm_start=[earlier.folder], max_trials=12)
    assert values(again) == values(later)


def test_the_strategy_learns_from_them(earlier, tmp_path):
    """The children of an evolution are those of archs that the earlier search found."""
    strategy = RegularizedEvolution(population_size=5, sample_size=5, seed=1)
    later = searched(tmp_path / "later", strategy=strategy, warm_start=[earlier.study], max_trials=1)
    child = later.trials[10].arch
    changes = [sum(child[label] != record.arch[label] for label in child.keys() & record.arch) for record in later.trials[:10]]
    assert min(changes) <= 1
    cold = searched(tmp_path / "cold", strategy=strategy, max_trials=1)
    assert child != cold.trials[0].arch
    assert later.top_trials()[0].scores["default"] >= earlier.top_trials()[0].scores["default"]


def test_any_place_of_a_study(earlier, tmp_path):
    file = earlier.folder / "study.journal"
    for i, source in enumerate((file, str(file), earlier.folder, earlier.study)):
        assert len(searched(tmp_path / str(i), warm_start=[source], max_trials=1).trials) == 11
    sqlite = f"sqlite:///{tmp_path}/study.db"
    stored = searched(tmp_path / "s", storage=sqlite, max_trials=3)
    later = searched(tmp_path / "both", warm_start=[sqlite, file], max_trials=1)
    assert [record.earlier and record.earlier[0] for record in later.trials] == [*["s"] * 3, *["earlier"] * 10, None]
    assert len(stored.trials) == 3


def test_weights_come_with_their_trials(tmp_path):
    first = searched(tmp_path / "first", Saving(), max_trials=4, keep_weights=2)
    later = searched(tmp_path / "later", Saving(), warm_start=[first.folder], max_trials=1, keep_weights=5)
    best = first.top_trials()[0]
    (same,) = [record for record in later.trials if record.earlier == ("first", best.number)]
    assert (same.folder / "weights.safetensors").read_bytes() == (best.folder / "weights.safetensors").read_bytes()
    assert len(list((tmp_path / "later").glob("trials/*/weights.safetensors"))) == 3


def test_limits_hold_for_them_and_missing_measures_are_taken(earlier, tmp_path):
    limit = [Constraint("params", "<=", 300)]
    later = searched(tmp_path / "a", constraints=limit, input_shape=SHAPE, warm_start=[earlier.folder], max_trials=1)
    added = [record for record in later.trials if record.earlier]
    assert 0 < len(added) < 10
    assert all(record.scores["params"] <= 300 for record in added)
    assert later.warm_start_notes == [
        f"{len(added)} of 10 complete trials of earlier were added, {10 - len(added)} that violate a constraint were left out"
    ]
    # They cost no time of this search, and no trial.
    assert sum(trial.user_attrs["spent_seconds"] for trial in later.study.trials[: len(added)]) == 0


def test_a_kill_while_they_are_added_adds_none_twice(earlier, tmp_path, monkeypatch):
    added = []

    def killed(*arguments):
        if len(added) == 4:
            raise KeyboardInterrupt
        added.append(arguments)

    monkeypatch.setattr(module, "_copy_weights", killed)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "later", warm_start=[earlier.folder], max_trials=2)
    monkeypatch.undo()
    later = searched(tmp_path / "later", warm_start=[earlier.folder], max_trials=2)
    assert [record.earlier for record in later.trials] == [("earlier", i) for i in range(10)] + [None] * 2
    assert values(later) == values(searched(tmp_path / "alone", warm_start=[earlier.folder], max_trials=2))


def test_other_searches_are_refused_by_name(earlier, tmp_path):
    def refused(match, **settings):
        with pytest.raises(ExperimentError, match=match):
            searched(tmp_path / f"refused{len(list(tmp_path.iterdir()))}", max_trials=1, **settings)

    refused(
        r"earlier searched another space: Small with num_labels = 4 there and 5 here",
        space=Small(5),
        warm_start=[earlier.folder],
    )
    two = searched(tmp_path / "two", Two(), GridSearch(seed=1), max_trials=2)
    refused(r"trial 0 of two has no score 'default', only cost, value", warm_start=[two.folder])
    refused(
        "earlier has the objective default = maximize, and here it is minimize",
        objectives=(Objective("default", "minimize"),),
        warm_start=[earlier.folder],
    )
    refused(r"there is no study .*nowhere", warm_start=[tmp_path / "nowhere"])
    refused(r"has no study.journal", warm_start=[tmp_path])
    assert not list(tmp_path.glob("refused*/study.journal"))[1:]  # Most are refused before a study is created.
    plain = optuna.create_study(study_name="plain", storage=open_storage(tmp_path / "plain.journal"))
    refused(r"no study that an experiment made", warm_start=[tmp_path / "plain.journal"])
    refused(r"plain was not made by an experiment of hubserve", warm_start=[plain])
    assert len(searched(tmp_path / "begun", max_trials=1).trials) == 1
    with pytest.raises(ExperimentError, match="warm_start: begun was begun without it and has trials"):
        searched(tmp_path / "begun", warm_start=[earlier.folder], max_trials=2)
