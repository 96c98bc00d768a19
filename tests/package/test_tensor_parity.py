"""Comparison of models of any inputs: every output, in every batch, and each row alone."""

from __future__ import annotations

import numpy as np
import pytest

from hubserve.errors import ParityError
from hubserve.package.manifest import InputEntry, OutputEntry
from hubserve.package.signature import ModelSignature
from hubserve.package.tensor_parity import check_outputs, check_rows_alone

WORDS = InputEntry(name="words", dtype="int64", shape=("batch", "length"), prepared_by="none", lowest=0, highest=9, padding=0)
SCORES = OutputEntry(name="scores", dtype="float32", shape=("batch", "length"), meaning="other")
LENGTHS = OutputEntry(name="lengths", dtype="int64", shape=("batch",), meaning="other")
SIGNATURE = ModelSignature((WORDS,), (SCORES, LENGTHS))
BATCHES = SIGNATURE.compared_batches()


class Fake:
    """Squares of numbers, and how many there are; each fault is one that an exporter could make."""

    name, device = "fake", "cpu"

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def run(self, inputs):
        (words,) = inputs
        scores, lengths = np.sqrt(words).astype(np.float32), (words > 0).sum(1)
        match self.fault:
            case "error":
                scores[-1, -1] += 1e-3
            case "nan":
                scores[0, 0] = np.nan
            case "integer":
                lengths = lengths + (words.shape[1] == 15)
            case "dtype":
                lengths = lengths.astype(np.int32)
            case "length":
                scores = scores[:, :29]
            case "fewer":
                return (scores,)
            case "others":
                scores = scores - scores.mean()
            case "padding":
                scores = scores + (words == 0).sum(1, keepdims=True).astype(np.float32)
            case "constant":
                scores = np.ones_like(scores)
        return scores, lengths


def test_what_is_equal_passes():
    report = check_outputs(Fake(), Fake(), SIGNATURE, BATCHES)
    assert report.passed
    assert report.outputs.keys() == {"scores", "lengths"}
    assert report.batches == (1, 2, 4, 3)
    assert [entry["length"] for entry in report.lengths] == [1, 15, 48, 29]
    assert check_rows_alone(Fake(), SIGNATURE, BATCHES) == 0


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("error", "'scores': largest error 0.001"),
        ("nan", "largest error nan"),
        ("integer", "2 whole numbers of the output 'lengths'"),
        ("dtype", "int32"),
        ("length", r"\(4, 29\)"),
        ("fewer", r"float32 \(1, 1\), and fake with"),
    ],
)
def test_a_fault_in_any_output_and_batch_is_found(fault, says):
    with pytest.raises(ParityError, match=says):
        check_outputs(Fake(), Fake(fault), SIGNATURE, BATCHES)


def test_a_constant_output_proves_nothing():
    with pytest.raises(ParityError, match="proves nothing"):
        check_outputs(Fake("constant"), Fake("constant"), SIGNATURE, BATCHES)


@pytest.mark.parametrize("fault", ["others", "padding"])
def test_the_answer_to_a_row_depends_on_that_row_alone(fault):
    with pytest.raises(ParityError, match="otherwise alone than in a batch of others: scores"):
        check_rows_alone(Fake(fault), SIGNATURE, BATCHES)


def test_classes_of_logits_are_compared():
    logits = OutputEntry(name="logits", dtype="float32", shape=("batch", 2))
    signature = ModelSignature((WORDS,), (logits,))

    class Two:
        name, device = "two", "cpu"

        def run(self, inputs):
            first = inputs[0][:, 0] / 10
            return (np.stack([first, 1 - first], 1).astype(np.float32),)

    report = check_outputs(Two(), Two(), signature, BATCHES)
    assert report.top1_agreement == 1
    assert report.agreement_needed == 1
