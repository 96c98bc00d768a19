"""Figures of accuracy and calibration, compared with what can be computed by hand or by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from hubserve.accuracy_from_logits import accuracy_report, calibration_error, find_temperature

LABELS = ("cat", "dog", "ship")


def drawn(n: int, seed: int = 0, *, sharpness: float = 1.0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is exactly the probability of each class, and classes drawn from it; `sharpness` scales them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    true = np.array([rng.choice(classes, p=row) for row in softmax(logits, axis=1)])
    return logits * sharpness, true


def report(logits, true, **more):
    files = [f"{i}.png" for i in range(len(true))]
    return accuracy_report(logits, true, LABELS, files, dataset="test", **more)


def test_figures_of_each_class_are_those_of_scikit_learn():
    logits, true = drawn(300)
    found = report(logits, true)
    given_class = logits.argmax(1)
    precision, recall, _, count = precision_recall_fscore_support(true, given_class)
    assert [c.precision for c in found.classes] == pytest.approx(list(precision))
    assert [c.recall for c in found.classes] == pytest.approx(list(recall))
    assert [c.images for c in found.classes] == count.tolist()
    assert np.array_equal(found.confusion, confusion_matrix(true, given_class))
    assert found.top1 == pytest.approx((true == given_class).mean())
    assert found.top1_interval[0] < found.top1 < found.top1_interval[1]


def test_classes_without_images_or_answers_have_no_figures():
    logits = np.array([[5.0, 0, 0], [4.0, 0, 0]])
    found = report(logits, np.array([0, 1]))
    assert [(c.precision, c.recall) for c in found.classes] == [(0.5, 1.0), (None, 0.0), (None, None)]
    assert [pair.model_dump() for pair in found.confused] == [{"label": "dog", "predicted": "cat", "images": 1}]


def test_the_worst_images_are_the_surest_mistakes():
    logits = np.array([[9.0, 0, 0], [0, 3.0, 0], [0, 0, 6.0], [0, 5.0, 0]])
    found = report(logits, np.array([1, 0, 2, 0]))
    assert [(w.file, w.label, w.predicted) for w in found.worst] == [
        ("0.png", "dog", "cat"),
        ("3.png", "cat", "dog"),
        ("1.png", "cat", "dog"),
    ]
    assert found.worst[0].probability > found.worst[1].probability


def test_few_and_uneven_images_are_named():
    logits, true = np.eye(3)[[0] * 200 + [1] * 30 + [2] * 2], np.array([0] * 200 + [1] * 30 + [2] * 2)
    notes = report(logits, true).notes
    assert "fewer than 20 test images of ship" in notes[0]
    assert "imbalanced: 200 test images of cat and 2 of ship" in notes[1]
    assert report(*drawn(600)).notes == ()


def test_texts_are_named_as_such():
    logits, true = np.eye(3)[[0] * 200 + [1] * 2], np.array([0] * 200 + [1] * 2)
    found = report(logits, true, items="texts")
    assert found.items == "texts"
    assert "no test texts of ship" in found.notes[0]
    assert "fewer than 20 test texts of dog" in found.notes[1]
    assert "imbalanced: 200 test texts of cat and 2 of dog" in found.notes[2]
    assert not any("image" in note for note in found.notes)


def test_classes_without_images_are_named_and_are_no_imbalance():
    """Six classes of 30 images each, and seven without any."""
    true = np.repeat(np.arange(6), 30)
    found = accuracy_report(np.eye(13)[true], true, [f"c{i}" for i in range(13)], [""] * 180, dataset="test")
    assert found.notes == ("no test images of c6, c7, c8, c9, c10 and 2 more: these classes have no figures",)


def test_many_classes_have_no_matrix():
    logits, true = drawn(50, classes=101)
    found = accuracy_report(logits, true, [f"c{i}" for i in range(101)], [""] * 50, dataset="test")
    assert found.confusion is None
    assert 0 < len(found.confused) <= 20


class TestCalibration:
    def test_true_probabilities_are_calibrated(self):
        logits, true = drawn(20_000)
        assert calibration_error(softmax(logits, axis=1), true) < 0.015

    def test_by_hand(self):
        """Two images with a probability of 0.9 of which one is right, two with 0.6 that are right."""
        probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
        assert calibration_error(probabilities, np.array([0, 1, 0, 0])) == pytest.approx((0.8 + 0.8) / 4)

    @pytest.mark.parametrize("sharpness", [0.5, 2.0, 4.0])
    def test_the_temperature_undoes_a_scale(self, sharpness):
        logits, true = drawn(5000, sharpness=sharpness)
        temperature = find_temperature(logits, true)
        assert temperature == pytest.approx(sharpness, rel=0.06)
        found = report(logits, true, temperature=temperature)
        assert found.calibration_error < found.unscaled_calibration_error
        assert found.top1 == report(logits, true).top1

    @given(st.integers(0, 1000), st.integers(1, 40))
    def test_it_is_never_worse_on_what_it_was_fitted_on(self, seed, n):
        logits, true = drawn(n, seed)
        temperature = find_temperature(logits, true)

        def loss(t: float) -> float:
            return float(-np.log(softmax(logits / t, axis=1)[np.arange(n), true] + 1e-300).mean())

        assert temperature is None or loss(temperature) <= loss(1.0) + 1e-6
