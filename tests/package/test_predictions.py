"""Predictions from logits: order, probabilities and temperature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import TopKError
from hubserve.package.predictions import best_predictions, number_of_predictions, softmax

LABELS = ("cat", "dog", "cow", "fox")


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20), st.floats(0.05, 20))
def test_the_most_likely_class_is_first_at_any_temperature(logits, temperature):
    labels = [f"class {i}" for i in range(len(logits))]
    values = np.array(logits, np.float32)
    found = best_predictions(values, labels, len(logits), temperature=temperature)
    assert found[0].index == int(values.argmax())
    assert [prediction.index for prediction in found] == list(np.argsort(-values, kind="stable"))
    assert sum(prediction.probability for prediction in found) == pytest.approx(1)
    assert [prediction.label for prediction in found] == [labels[prediction.index] for prediction in found]


def test_a_temperature_divides_the_logits():
    logits = np.array([1.0, 3.0, 2.0, -1.0], np.float32)
    (plain,), (warm,) = (best_predictions(logits, LABELS, 1, temperature=value) for value in (None, 2.0))
    assert plain.label == warm.label == "dog"
    assert plain.probability == pytest.approx(softmax(logits.astype(np.float64)).max())
    assert warm.probability == pytest.approx(np.exp(1.5) / np.exp(logits / 2).sum())
    assert best_predictions(logits, LABELS, 2, temperature=1.0) == best_predictions(logits, LABELS, 2)


def test_of_equal_logits_the_lower_index_is_first():
    assert [prediction.index for prediction in best_predictions(np.zeros(4, np.float32), LABELS, 3)] == [0, 1, 2]


def test_number_of_predictions():
    assert number_of_predictions(None, 1000) == 5
    assert number_of_predictions(None, 3) == 3
    assert number_of_predictions(2, 3) == 2
    for wrong in (0, -1, 4):
        with pytest.raises(TopKError, match=f"top_k = {wrong} is not between 1 and 3"):
            number_of_predictions(wrong, 3)
