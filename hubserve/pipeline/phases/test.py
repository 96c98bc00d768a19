"""Phase "test": measures the accuracy on the test part, and finds the temperature that calibrates the probabilities."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hubserve.accuracy_from_logits import accuracy_report, find_temperature
from hubserve.jobs import Run
from hubserve.package.accuracy_report import AccuracyReport, Items
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter
from hubserve.training.kept_memory import kept_memory

TEST = "test.json"

LabelledBatches = Iterable[tuple[Tensor, Tensor]]
"""Batches: images, (n, 3, height, width), or token ids of texts, (n, length), and the index of the class of each, (n,)."""


@dataclass(frozen=True)
class LabelledParts:
    """The validation and test images, or texts, with which a network is tested.

    Attributes:
        dataset: Name of the data set, for the report.
        labels: Names of the classes, in the order of their indices.
        val: Function that returns the batches of the validation part, with which the temperature is found.
        test: Function that returns the batches of the test part, which no other phase of the job uses.
        files: Name of the file of each test image, or beginning of each test text, in the order of the batches; empty if there
            is no test part.
        items: What is classified: "images" or "texts".
    """

    dataset: str
    labels: Sequence[str]
    val: Callable[[], LabelledBatches]
    test: Callable[[], LabelledBatches]
    files: Sequence[str]
    items: Items = "images"


@dataclass(frozen=True)
class TestedNetwork:
    """The result of the test phase.

    Attributes:
        accuracy: Report on the test images or texts; None if there is no test part, or if version 0.1.0 tested the network.
        temperature: Number by which logits are divided before the softmax; None if no temperature lowers the cross
            entropy on the validation part.
        test_acc: Accuracy on the test part, in [0, 1]; None if there is no test part, or the network is no classifier.
        scores: Scores of a network that is no classifier, and those of predicting mean values, by name; empty for a classifier.
    """

    __test__ = False  # No class of tests, in spite of its name.

    accuracy: AccuracyReport | None
    temperature: float | None
    test_acc: float | None
    scores: Mapping[str, float] = field(default_factory=dict)


def test(model: nn.Module, parts: LabelledParts, run: Run, status: StatusWriter) -> TestedNetwork:
    """Tests a network, saves the result in test.json and returns it; a result that is saved already is returned.

    Args:
        model: Network in eval mode, on the CPU.
        parts: Validation and test images, or texts.
        run: Run in whose folder the result is saved.
        status: Writer of the run's status.

    Raises:
        DatasetError: An image cannot be read.
        JobError: test.json is corrupt.
    """

    def measure() -> dict[str, Any]:
        status.begin("test", f"measuring the accuracy on the test {parts.items}")
        temperature = find_temperature(*logits_of(model, parts.val()))
        if not parts.files:
            return {"test_acc": None, "temperature": temperature, "accuracy": None}
        logits, true = logits_of(model, parts.test())
        report = accuracy_report(
            logits, true, parts.labels, parts.files, dataset=parts.dataset, temperature=temperature, items=parts.items
        )
        return {"test_acc": report.top1, "temperature": temperature, "accuracy": report.model_dump(mode="json")}

    found = load_or_compute(run.path / TEST, measure)
    # Version 0.1.0 wrote test_acc alone.
    report = found.get("accuracy")
    accuracy = None if report is None else AccuracyReport.model_validate(report)
    return TestedNetwork(accuracy, found.get("temperature"), found["test_acc"])


@torch.no_grad()
def logits_of(model: nn.Module, batches: LabelledBatches) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Runs a network in eval mode on batches, at least one; returns all logits, (n, classes), and the true classes, (n,)."""
    with kept_memory(torch.device("cpu")):
        found = [(model(inputs).float().numpy(), target.numpy()) for inputs, target in batches]
    logits, classes = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(classes)
