"""The accuracy of the trained network on the test images, and the temperature that calibrates its probabilities."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hubserve.accuracy_report import accuracy_report, find_temperature
from hubserve.jobs import Run
from hubserve.package.accuracy_report import AccuracyReport
from hubserve.pipeline.saved_phases import load_or_compute
from hubserve.pipeline.status_writer import StatusWriter

TEST = "test.json"

ImageBatches = Iterable[tuple[Tensor, Tensor]]
"""Prepared images (n, 3, height, width) and the index of the class of each, (n,)."""


@dataclass(frozen=True)
class LabelledParts:
    """The images that a network is tested with.

    Attributes:
        dataset: Name of the data.
        labels: Names of the classes.
        val: Makes the batches of validation images, which choose the temperature.
        test: Makes the batches of test images, which nothing else of the job uses.
        files: Name of the file of each test image; empty if there are no test images.
    """

    dataset: str
    labels: Sequence[str]
    val: Callable[[], ImageBatches]
    test: Callable[[], ImageBatches]
    files: Sequence[str]


@dataclass(frozen=True)
class TestedNetwork:
    """What the test phase found.

    Attributes:
        accuracy: Report on the test images; None if there are none, or if an older version wrote test.json.
        temperature: Number by which logits are divided before the softmax; None if none is better on the validation images.
        test_acc: Accuracy on the test images, in [0, 1]; None if there are none.
    """

    __test__ = False  # No class of tests, in spite of its name.

    accuracy: AccuracyReport | None
    temperature: float | None
    test_acc: float | None


def test(model: nn.Module, parts: LabelledParts, run: Run, status: StatusWriter) -> TestedNetwork:
    """Tests a network in eval mode. The result is saved in test.json.

    Args:
        model: The network, on the CPU.
        parts: The images.
        run: The run.
        status: Its status, to which the figures are written.
    """

    def measure() -> dict[str, Any]:
        status.begin("test", "measuring the accuracy on the test images")
        temperature = find_temperature(*logits_of(model, parts.val()))
        if not parts.files:
            return {"test_acc": None, "temperature": temperature, "accuracy": None}
        logits, true = logits_of(model, parts.test())
        report = accuracy_report(logits, true, parts.labels, parts.files, dataset=parts.dataset, temperature=temperature)
        return {"test_acc": report.top1, "temperature": temperature, "accuracy": report.model_dump(mode="json")}

    found = load_or_compute(run.path / TEST, measure)
    # Version 0.1.0 wrote test_acc alone.
    report = found.get("accuracy")
    accuracy = None if report is None else AccuracyReport.model_validate(report)
    status.write(test_acc=found["test_acc"], accuracy=accuracy)
    return TestedNetwork(accuracy, found.get("temperature"), found["test_acc"])


@torch.no_grad()
def logits_of(model: nn.Module, batches: ImageBatches) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The outputs of a network in eval mode, (n, classes), and the index of the class of each image, (n,)."""
    found = [(model(inputs).float().numpy(), target.numpy()) for inputs, target in batches]
    logits, classes = zip(*found, strict=True)
    return np.concatenate(logits), np.concatenate(classes)
