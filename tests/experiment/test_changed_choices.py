"""A study is not continued in a space whose choices were changed since; the message names the choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from torch import nn

from hubserve.errors import ExperimentError
from hubserve.experiment import NasExperiment
from hubserve.experiment.changed_choices import changed_choice
from hubserve.space import ModelSpace
from hubserve.strategy import Random
from tests.experiment.small import SIZE, Small, Value


@dataclass(frozen=True)
class Changing(ModelSpace):
    """As `Small`; the test changes what is asked for."""

    widths: ClassVar[tuple[int, ...]] = (2, 3, 4)
    depths: ClassVar[tuple[int, ...]] = (1, 2)
    kernel: ClassVar[str] = "kernel"
    n_inputs: ClassVar[int] = 3

    def build(self, pick):
        pick.inputs("inputs", self.n_inputs, 2)
        blocks = pick.repeat("depth", self.depths, lambda i: nn.Conv2d(1, 1, pick(f"{self.kernel}_{i}", (1, 3, 5))))
        return nn.Sequential(nn.Linear(2, int(pick("width", self.widths))), *blocks)


def experiment(folder, trials, **settings):
    settings = {"evaluator": Value(), "strategy": Random(seed=1), **settings}
    return NasExperiment(Changing(), **settings, name="changing", folder=folder, max_trials=trials, progress=False)


@pytest.fixture
def begun(tmp_path):
    found = experiment(tmp_path, 6)
    found.run()
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (2, 3, 4, 5)}, r"'width' had the candidates \(2, 3, 4\) and has \(2, 3, 4, 5\)"),
        ({"widths": (2, 3)}, r"'width' had the candidates \(2, 3, 4\) and has \(2, 3\)"),
        ({"widths": (4, 3, 2)}, r"'width' had the candidates \(2, 3, 4\) and has \(4, 3, 2\)"),
        ({"widths": ("2", "3", "4")}, r"'width' had the candidates \(2, 3, 4\) and has \('2', '3', '4'\)"),
        ({"depths": (1, 3)}, r"'depth' had the candidates \(1, 2\) and has \(1, 2, 3\)"),
        ({"kernel": "ks"}, r"the choice 'kernel_0' is no longer one of Changing"),
        ({"n_inputs": 4}, r"'inputs' had the candidates "),
    ],
)
def test_a_changed_choice_is_named(begun, monkeypatch, changes, message):
    for name, value in changes.items():
        monkeypatch.setattr(Changing, name, value)
    before = (begun / "study.journal").read_bytes()
    with pytest.raises(ExperimentError, match=message):
        experiment(begun, 12).run()
    assert (begun / "study.journal").read_bytes() == before


def test_a_choice_that_is_new_or_asked_for_elsewhere(begun, monkeypatch):
    build = Changing.build

    def more(self, pick):
        pick("more", (1, 2))
        return build(self, pick)

    monkeypatch.setattr(Changing, "build", more)
    with pytest.raises(ExperimentError, match=r"the choice 'more' was not asked for in the arch .* of trial 0"):
        experiment(begun, 12).run()


def test_a_space_that_is_as_it_was_goes_on(begun):
    found = experiment(begun, 12)
    found.run()
    assert len(found.trials) == 12


def test_a_warm_start_from_it_names_the_choice_too(begun, monkeypatch, tmp_path):
    monkeypatch.setattr(Changing, "widths", (2, 3, 4, 5))
    later = NasExperiment(
        Changing(), Value(), Random(seed=1), folder=tmp_path / "later", warm_start=[begun], max_trials=2, progress=False
    )
    with pytest.raises(ExperimentError, match="changing searched another space: the choice 'width' had the candidates"):
        later.run()


def test_the_archs_of_a_whole_space_are_no_change(tmp_path):
    found = NasExperiment(Small(), Value(), Random(seed=1), folder=tmp_path, progress=False)
    found.run()
    assert len(found.trials) == SIZE
    assert changed_choice(found.study.get_trials(), Small()) is None
