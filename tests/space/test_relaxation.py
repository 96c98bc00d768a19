"""Probabilities of choices: what logits give, what is certain, what is expected, drawn and likeliest."""

from __future__ import annotations

from random import Random

import pytest
import torch

from hubserve.space import AnyOf, Choice, KOf, OneOf

CHOICES = [OneOf("c", ("a", "b", "c")), KOf("c", (0, 1, 2), 2), AnyOf("c", (0, 1, 2))]


def certain(choice: Choice, answer) -> torch.Tensor:
    return choice.relaxation.certain(len(choice.candidates), choice.indices(answer))


@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: type(c).__name__)
class TestEveryKind:
    def test_a_certain_answer_is_drawn_and_is_the_likeliest(self, choice):
        for answer in choice.answers():
            probabilities = certain(choice, answer)
            assert choice.likeliest(probabilities) == answer
            # Of k inputs, the second draw is among candidates of which the first is gone: none may be impossible.
            if not isinstance(choice, KOf):
                assert choice.draw(probabilities.tolist(), Random(0)) == answer

    def test_a_certain_answer_has_each_of_its_candidates_once(self, choice):
        for answer in choice.answers():
            expected = choice.expected_chosen(certain(choice, answer))
            assert expected.nonzero().flatten().tolist() == choice.indices(answer)
            assert expected.sum() == len(choice.indices(answer))

    def test_what_is_drawn_is_an_answer(self, choice):
        probabilities = choice.relaxation.probabilities(torch.tensor([0.5, -1.0, 0.2])).tolist()
        rng, answers = Random(0), list(choice.answers())
        assert all(choice.draw(probabilities, rng) in answers for _ in range(50))

    def test_the_others_keep_their_probabilities(self, choice):
        before, held = torch.tensor([0.5, -1.0, 0.2]), [0, 2]
        after = before.clone()
        after[held] = choice.relaxation.keep_total(torch.tensor([1.5, 0.0]), before[held])
        relaxed = choice.relaxation.probabilities
        assert torch.allclose(relaxed(after)[1], relaxed(before)[1])

    def test_categories(self, choice):
        for answer in choice.answers():
            category = choice.to_category(answer)
            assert isinstance(category, str)
            assert choice.from_category(category) == answer


@pytest.mark.parametrize("choice", [CHOICES[0], CHOICES[2]], ids=["OneOf", "AnyOf"])
def test_probabilities_of_all_answers_add_up_to_one(choice):
    logits = torch.tensor([0.5, -1.0, 0.2])
    total = sum(choice.relaxation.log_probability(logits, choice.indices(answer)).exp() for answer in choice.answers())
    assert total == pytest.approx(1.0, abs=1e-6)


def test_names_and_truth_values_are_no_numbers():
    assert OneOf("c", (1, 2.5)).is_numeric
    assert not any(choice.is_numeric for choice in [*CHOICES, OneOf("c", (False, True)), OneOf("c", (1, "a"))])
