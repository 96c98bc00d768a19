"""One choice: its answers, their numbers, what is drawn and what is understood."""

from __future__ import annotations

import re
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ArchError, SpaceError
from hubserve.space import Choice
from hubserve.space.choice import gates_first

ONE = Choice("one", (3, 5, 7))


@st.composite
def choices(draw) -> Choice:
    n = draw(st.integers(1, 6))
    candidates = tuple(draw(st.lists(st.integers(-9, 9), min_size=n, max_size=n, unique=True)))
    if draw(st.booleans()):
        return Choice("c", candidates)
    return Choice("c", tuple(range(n)), multiple=True, n_chosen=draw(st.sampled_from([None, *range(1, n + 1)])))


class TestAnswers:
    @given(choices())
    def test_there_are_size_of_them_each_with_its_number(self, choice):
        answers = list(choice.answers())
        assert len(answers) == choice.size
        assert all(answer not in answers[:i] for i, answer in enumerate(answers))
        assert [choice.answer_at(i) for i in range(choice.size)] == answers

    def test_a_number_is_found_without_listing(self):
        inputs = Choice("in", tuple(range(200)), multiple=True)
        assert inputs.size == 2**200
        assert inputs.answer_at(inputs.size - 1) == list(range(200))
        assert inputs.answer_at(1 + 57) == [57]
        half = Choice("in", tuple(range(200)), multiple=True, n_chosen=100)
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
        inputs = Choice("in", tuple(range(200)), multiple=True)
        assert inputs.another([], Random(0))


class TestParse:
    @given(choices())
    def test_every_answer_is_itself(self, choice):
        for answer in choice.answers():
            assert choice.parse(answer) == answer
            if choice.multiple:
                assert choice.parse(tuple(reversed(answer))) == answer
            else:
                assert choice.parse(float(answer)) == answer

    @given(choices(), st.one_of(st.none(), st.text(), st.integers(), st.lists(st.integers(-1, 7))))
    def test_anything_is_an_answer_or_refused_by_name(self, choice, value):
        answers = list(choice.answers())
        if value in answers or (choice.multiple and isinstance(value, list) and sorted(value) in answers):
            assert choice.parse(value) in answers
            return
        says = re.escape(f"arch['c'] = {value!r} is not ") + ".*" + re.escape(str(choice.candidates))
        with pytest.raises(ArchError, match=says):
            choice.parse(value)


class TestSenselessChoices:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"candidates": ()}, "'c' has no candidates"),
            ({"candidates": (0, 1), "multiple": True, "n_chosen": 3}, "cannot choose n_chosen = 3 of 2 inputs"),
            ({"candidates": (0, 1), "multiple": True, "n_chosen": 0}, "cannot choose n_chosen = 0"),
            ({"candidates": (0, 1), "weights": (1.0,)}, r"weights = \(1.0,\) must be 2 numbers"),
            ({"candidates": (0, 1), "weights": (2.0, -1.0)}, "none below 0"),
            ({"candidates": (0, 1), "weights": (0.0, 0.0)}, "one above it"),
            ({"candidates": (0, 1), "weights": (float("nan"), 1.0)}, "none below 0"),
        ],
    )
    def test_are_refused(self, settings, message):
        with pytest.raises(SpaceError, match=message):
            Choice("c", **settings)

    def test_that_decide_about_each_other(self):
        a = Choice("a", (1, 2), conditions=((("b", (1,)),),))
        b = Choice("b", (1, 2), conditions=((("a", (1,)),),))
        with pytest.raises(SpaceError, match="in a circle: a, b"):
            gates_first({"a": a, "b": b})


def test_gates_come_first_and_the_order_stays():
    gated, gate = Choice("gated", (1, 2), conditions=((("gate", (1,)),),)), Choice("gate", (1, 2))
    assert [c.label for c in gates_first({"gated": gated, "gate": gate, "one": ONE})] == [
        "gate",
        "one",
        "gated",
    ]
