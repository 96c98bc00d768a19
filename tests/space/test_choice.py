"""One choice: its answers, their numbers, what is drawn and what is understood."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ArchError, SpaceError
from hubserve.space import AnyOf, Choice, KOf, OneOf
from hubserve.space.choice import gates_first
from hubserve.space.input_choice import inputs_choice

ONE = OneOf("one", (3, 5, 7))


@st.composite
def choices(draw) -> Choice:
    n = draw(st.integers(1, 6))
    candidates = tuple(draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n, unique=True)))
    if draw(st.booleans()):
        return OneOf("c", candidates)
    return inputs_choice("c", n, draw(st.sampled_from([None, *range(1, n + 1)])))


class TestAnswers:
    @given(choices())
    def test_there_are_size_of_them_each_with_its_number(self, choice):
        answers = list(choice.answers())
        assert len(answers) == choice.size
        assert all(answer not in answers[:i] for i, answer in enumerate(answers))
        assert [choice.answer_at(i) for i in range(choice.size)] == answers

    def test_a_number_is_found_without_listing(self):
        inputs = AnyOf("in", tuple(range(200)))
        assert inputs.size == 2**200
        assert inputs.answer_at(inputs.size - 1) == list(range(200))
        assert inputs.answer_at(1 + 57) == [57]
        half = KOf("in", tuple(range(200)), 100)
        assert half.answer_at(half.size - 1) == list(range(100, 200))

    @given(choices(), st.integers(0, 2**32))
    def test_what_is_drawn_is_an_answer(self, choice, seed):
        rng, answers = Random(seed), list(choice.answers())
        drawn = choice.random(rng)
        assert drawn in answers
        if choice.size > 1:
            other = choice.another(drawn, rng)
            assert other in answers
            assert other != drawn

    def test_another_one_of_very_many(self):
        inputs = AnyOf("in", tuple(range(200)))
        assert inputs.another([], Random(0))


class TestParse:
    @given(choices())
    def test_every_answer_is_itself(self, choice):
        for answer in choice.answers():
            assert choice.parse(answer) == answer
            if not isinstance(choice, OneOf):
                assert choice.parse(tuple(reversed(answer))) == answer
            else:
                assert choice.parse(float(answer)) == answer

    @given(choices(), st.one_of(st.none(), st.text(), st.integers(), st.lists(st.integers(-1, 7))))
    def test_anything_is_an_answer_or_refused_by_name(self, choice, value):
        answers = list(choice.answers())
        if value in answers or (not isinstance(choice, OneOf) and isinstance(value, list) and sorted(value) in answers):
            assert choice.parse(value) in answers
            return
        says = re.escape(f"arch['c'] = {value!r} is not ") + ".*" + re.escape(str(choice.candidates))
        with pytest.raises(ArchError, match=says):
            choice.parse(value)


class TestSenselessChoices:
    @pytest.mark.parametrize(
        ("kind", "settings", "message"),
        [
            (OneOf, {"candidates": ()}, "'c' has no candidates"),
            (KOf, {"candidates": (0, 1), "n_chosen": 3}, "cannot choose n_chosen = 3 of 2 inputs"),
            (KOf, {"candidates": (0, 1), "n_chosen": 0}, "cannot choose n_chosen = 0"),
            (OneOf, {"candidates": (0, 1), "weights": (1.0,)}, r"weights = \(1.0,\) must be 2 finite numbers"),
            (OneOf, {"candidates": (0, 1), "weights": (2.0, -1.0)}, "none below 0"),
            (OneOf, {"candidates": (0, 1), "weights": (0.0, 0.0)}, "at least one above it"),
            (OneOf, {"candidates": (0, 1), "weights": (float("nan"), 1.0)}, "none below 0"),
        ],
    )
    def test_are_refused(self, kind, settings, message):
        with pytest.raises(SpaceError, match=message):
            kind("c", **settings)

    def test_that_decide_about_each_other(self):
        a = OneOf("a", (1, 2), conditions=((("b", (1,)),),))
        b = OneOf("b", (1, 2), conditions=((("a", (1,)),),))
        with pytest.raises(SpaceError, match="conditions of each other: a, b"):
            gates_first({"a": a, "b": b})


def test_gates_come_first_and_the_order_stays():
    gated, gate = OneOf("gated", (1, 2), conditions=((("gate", (1,)),),)), OneOf("gate", (1, 2))
    assert [c.label for c in gates_first({"gated": gated, "gate": gate, "one": ONE})] == [
        "gate",
        "one",
        "gated",
    ]
