"""Counting and numbering against brute force, for spaces that hypothesis makes up; and what brute force cannot reach."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from math import prod
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from hubserve.errors import ArchError, SpaceError
from hubserve.space import ModelSpace

MOST = 400
"""Combinations of answers that brute force tries."""


@dataclass(frozen=True)
class MadeUp(ModelSpace):
    """Asks what a tree says: a tuple of questions, each (verb, number in its label, what there is inside).

    Two questions with one label are one question, so that labels are reached by several paths.
    """

    questions: tuple

    def build(self, pick):
        return nn.Sequential(*(self._ask(pick, *question) for question in self.questions))

    def _ask(self, pick, verb, number, inside):
        def block(i):
            return nn.Sequential(*(self._ask(pick, *question) for question in inside[i]))

        if verb == "value":
            pick(f"value_{number}", tuple(range(number)))
        elif verb == "inputs":
            pick.inputs(f"inputs_{number}", number, None if number == 2 else 1)
        elif verb == "layer":
            pick.layer(f"layer_{number}", {f"op{i}": lambda i=i: block(i) for i in range(2)})
        else:
            pick.repeat(f"depth_{number}", (number, number + 1), lambda i: block(i % 2))
        return nn.Identity()


def _makes_sense(space: ModelSpace) -> bool:
    """Two choices, each of which is asked inside the other alone, make no space."""
    try:
        return bool(space.gates_first)
    except SpaceError:
        return False


LEAVES = st.tuples(st.sampled_from(["value", "inputs"]), st.integers(1, 3), st.just(()))


def _row(questions):
    return st.lists(questions, max_size=2).map(tuple)


QUESTIONS = st.recursive(
    LEAVES,
    lambda inner: st.tuples(st.sampled_from(["layer", "repeat"]), st.integers(0, 4), st.tuples(_row(inner), _row(inner))),
    max_leaves=8,
)
SPACES = st.lists(QUESTIONS, min_size=1, max_size=3).map(lambda questions: MadeUp(tuple(questions))).filter(_makes_sense)


def brute_force(space: ModelSpace) -> list[dict]:
    """Every canonical arch once."""
    combinations = itertools.product(*(list(choice.answers()) for choice in space.choices.values()))
    archs = (space.canonical(dict(zip(space.choices, answers, strict=True))) for answers in combinations)
    return list({json.dumps(arch): arch for arch in archs}.values())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(space=SPACES, seed=st.integers(0, 2**32))
def test_made_up_spaces(space, seed):
    assume(prod(choice.size for choice in space.choices.values()) <= MOST)
    archs = brute_force(space)
    assert space.count() == len(archs)
    numbered = [space.grid_arch(i) for i in range(space.count())]
    assert sorted(map(json.dumps, numbered)) == sorted(map(json.dumps, archs))
    for arch in archs:
        space.freeze(arch)
        # Each label of a canonical arch matters: without it nothing can be built.
        for label in arch:
            with pytest.raises(ArchError, match=f"arch has no '{label}'"):
                space.freeze({other: arch[other] for other in arch if other != label})
    drawn = space.random(Random(seed))
    assert drawn in archs
    if any(space.choices[label].size > 1 for label in drawn):
        child = space.mutate(drawn, Random(seed))
        assert child in archs
        assert child != drawn


class TestBeyondBruteForce:
    """Counts that take no longer than their number of gates, where listing would take ages."""

    def test_choices_inside_choices_inside_a_depth(self):
        @dataclass(frozen=True)
        class Deep(ModelSpace):
            depth: int = 60

            def build(self, pick):
                def block(i):
                    kinds = dict.fromkeys(("skip", "pool", "norm"), nn.Identity)
                    return pick.layer(f"op_{i}", kinds | {"conv": lambda: nn.Conv2d(1, 1, pick(f"ks_{i}", (1, 3)))})

                return nn.Sequential(*pick.repeat("depth", (1, self.depth), block))

        space = Deep()
        assert space.count() == sum(5**d for d in range(1, 61))
        assert space.grid_arch(0)["depth"] == 1
        last = space.grid_arch(space.count() - 1)
        assert last["depth"] == 60
        assert space.canonical(last) == last

    def test_one_choice_behind_many_gates(self):
        """A kernel that all convolutions of the network share."""

        @dataclass(frozen=True)
        class Shared(ModelSpace):
            def build(self, pick):
                kinds = dict.fromkeys(("skip", "pool", "norm"), nn.Identity)
                conv = {"conv": lambda: nn.Conv2d(1, 1, pick("ks", (1, 3, 5)))}
                return nn.Sequential(*(pick.layer(f"op_{i}", kinds | conv) for i in range(50)))

        assert Shared().count() == 3 * (4**50 - 3**50) + 3**50

    def test_depths_inside_depths(self):
        @dataclass(frozen=True)
        class Stages(ModelSpace):
            def build(self, pick):
                def stage(s):
                    blocks = pick.repeat(f"depth_{s}", (1, 9), lambda i: nn.Conv2d(1, 1, pick(f"ks_{s}_{i}", (1, 3))))
                    return nn.Sequential(*blocks)

                return nn.Sequential(*pick.repeat("stages", (1, 9), stage))

        a_stage = sum(2**d for d in range(1, 10))
        assert Stages().count() == sum(a_stage**s for s in range(1, 10))


class TestALabelAskedAgain:
    """What its candidates ask elsewhere counts too."""

    def test_with_other_labels_inside(self):
        @dataclass(frozen=True)
        class Tied(ModelSpace):
            def build(self, pick):
                def layer(i):
                    return pick.layer("op", {"skip": nn.Identity, "conv": lambda: nn.Conv2d(1, 1, pick(f"ks_{i}", (1, 3)))})

                return nn.Sequential(*map(layer, range(3)))

        space = Tied()
        assert list(space.choices) == ["op", "ks_0", "ks_1", "ks_2"]
        assert space.count() == len(brute_force(space)) == 1 + 2**3

    def test_first_inside_another_choice(self):
        @dataclass(frozen=True)
        class Inside(ModelSpace):
            def build(self, pick):
                def op():
                    return pick.layer("op", {"skip": nn.Identity, "conv": lambda: nn.Conv2d(1, 1, pick("ks", (1, 3)))})

                return nn.Sequential(pick.layer("gate", {"on": op, "off": nn.Identity}), op())

        assert Inside().choices["ks"].conditions == ((("op", ("conv",)),),)
        assert Inside().count() == len(brute_force(Inside())) == 2 * 3
        Inside().freeze({"gate": "off", "op": "conv", "ks": 3})

    def test_deeper_and_deeper(self):
        @dataclass(frozen=True)
        class Shared(ModelSpace):
            def build(self, pick):
                return nn.Sequential(*pick.repeat("depth", (0, 3), lambda i: nn.Conv2d(1, 1, pick("ks", (1, 3)))))

        assert Shared().choices["ks"].conditions == ((("depth", (1, 2, 3)),),)
        assert Shared().count() == 1 + 3 * 2
