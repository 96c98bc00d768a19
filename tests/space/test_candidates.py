"""Candidates of a choice: numpy's scalars are taken, and what no study can store is refused by the name of the choice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hubserve.errors import SpaceError
from hubserve.evaluator import FunctionalEvaluator
from hubserve.experiment import NasExperiment
from hubserve.space import ModelSpace
from hubserve.strategy import Random


@dataclass(frozen=True)
class Own(ModelSpace):
    candidates: Any = (4, 8)
    num_labels: int = 3

    def build(self, pick):
        return nn.Linear(2, int(pick("width", self.candidates) or 1))


class Given(Own):
    def __post_init__(self):
        """Keeps the candidates as they are: lists in settings become tuples otherwise."""


@pytest.mark.parametrize(
    ("candidates", "plain"),
    [
        (np.arange(4, 13, 4), (4, 8, 12)),
        (tuple(np.arange(4, 13, 4)), (4, 8, 12)),
        ([np.float32(4), np.float64(8.5)], (4.0, 8.5)),
        ((np.str_("4"), "8"), ("4", "8")),
        ((np.bool_(True), False), (True, False)),
        (range(4, 6), (4, 5)),
        ({"4": 1, "8": 2}.keys(), ("4", "8")),
        ((None, 4), (None, 4)),
    ],
)
def test_candidates_that_are_taken(candidates, plain):
    found = Given(candidates).choices["width"].candidates
    assert found == plain
    assert [type(each) for each in found] == [type(each) for each in plain]
    assert json.loads(json.dumps(found)) == list(found)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        (((3, 1), (5, 2)), r"choice 'width': the candidate \(3, 1\) is a tuple, .*TABLE\[pick\('width', tuple\(TABLE\)\)\]"),
        ([{"width": 4}, {"width": 8}], r"choice 'width': the candidate \{'width': 4\} is a dict"),
        ((nn.ReLU, nn.GELU), "choice 'width': the candidate .*ReLU.* is a type"),
        (tuple(Enum("Kind", "a b")), "choice 'width': the candidate .* is a Kind"),
        ((torch.tensor(4), 8), "choice 'width': the candidate .* is a Tensor"),
        ((4.0, float("nan")), "choice 'width': the candidate nan is no finite number"),
        ((np.float64("inf"), 1), "choice 'width': the candidate inf is no finite number"),
        ({4, 8}, "choice 'width': candidates of type set have no fixed order; give a tuple"),
        (None, "choice 'width': candidates of type NoneType are no sequence; give a tuple"),
        ((np.int64(4), 4), "choice 'width' lists a candidate twice"),
        ((), "choice 'width' has no candidates"),
    ],
)
def test_candidates_that_are_refused_when_the_choices_are_read(candidates, message):
    with pytest.raises(SpaceError, match=message):
        Given(candidates).choices  # noqa: B018


def test_a_numpy_number_alone_is_no_choice():
    assert Given(np.int64(4)).choices == {}
    assert Given(np.int64(4)).freeze({}).out_features == 4


@pytest.mark.parametrize("depth", [np.arange(1, 4), [np.int64(1), 2, 3], (np.int64(1), np.int64(3))])
def test_depths_of_numpy(depth):
    class Deep(Given):
        def build(self, pick):
            return nn.Sequential(*pick.repeat("depth", self.candidates, lambda i: nn.Identity()))

    space = Deep(depth)
    assert space.choices["depth"].candidates == (1, 2, 3)
    assert len(space.freeze({"depth": 2})) == 2


def test_layers_and_depths_are_named_too():
    class Layers(Given):
        def build(self, pick):
            return pick.layer("layer", {(3, 1): nn.Identity, (5, 1): nn.ReLU})

    class Deep(Given):
        def build(self, pick):
            return nn.Sequential(*pick.repeat("depth", self.candidates, lambda i: nn.Identity()))

    with pytest.raises(SpaceError, match="choice 'layer': the candidate"):
        Layers().choices  # noqa: B018
    with pytest.raises(SpaceError, match="choice 'depth': depth = "):
        Deep((1.5, 2)).choices  # noqa: B018
    with pytest.raises(SpaceError, match="choice 'depth'"):
        Deep(2.5).choices  # noqa: B018


def test_a_search_over_numpy_numbers_stores_its_trials(tmp_path):
    space = Given(tuple(np.arange(4, 13, 4)))
    experiment = NasExperiment(
        space, FunctionalEvaluator(lambda model: 1.0), Random(seed=1), max_trials=3, progress=False, folder=tmp_path
    )
    experiment.run()
    assert sorted(record.arch["width"] for record in experiment.trials) == [4, 8, 12]
