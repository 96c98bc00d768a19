"""Computes an `AccuracyReport` from logits, and finds the temperature that calibrates a model."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest

from hubserve.package.accuracy_report import AccuracyReport, ClassFigures, ConfusedPair, Items, WrongImage

BINS = 15
"""Number of bins of the calibration error, as in Guo et al. 2017."""

MOST_CLASSES, MOST_CONFUSED, MOST_WORST = 100, 20, 10

FEW = 20
"""Number of test images of a class below which a note says that the figures of the class are rough."""

MOST_NAMED = 5
"""Largest number of classes that a note names."""

IMBALANCE = 5
"""A note says that classes are imbalanced if one has at least this many times the images of another that has some."""

TEMPERATURES = (0.05, 20.0)
"""Smallest and largest temperature that `find_temperature` tries."""

Logits = NDArray[np.floating]
"""Logits of images, (images, classes)."""

Classes = NDArray[np.integer]
"""Index of the class of each image, (images,)."""


def accuracy_report(
    logits: Logits,
    true: Classes,
    labels: Sequence[str],
    files: Sequence[str],
    *,
    dataset: str,
    temperature: float | None = None,
    items: Items = "images",
) -> AccuracyReport:
    """Computes the accuracy, calibration and errors of a model on test images or texts, and returns them as a report.

    Args:
        logits: Logits that the model computed for the images or texts, (n, classes), n at least 1.
        true: Index of the true class of each, (n,).
        labels: Label of each class, in the order of the logits.
        files: Path of the file of each image, or the beginning of each text.
        dataset: Name of the data set, for the report.
        temperature: Number above 0 by which the logits are divided before the softmax; None means 1.
        items: What was classified: "images" or "texts".
    """
    values = np.asarray(logits, np.float64)
    probabilities = softmax(values / (temperature or 1.0), axis=1)
    given = values.argmax(1)
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (true, given), 1)
    hits = int(np.trace(confusion))
    interval = binomtest(hits, len(true)).proportion_ci(0.95, method="wilson")
    plain = None if temperature is None else calibration_error(softmax(values, axis=1), true)
    return AccuracyReport(
        dataset=dataset,
        items=items,
        images=len(true),
        top1=hits / len(true),
        top1_interval=(float(interval.low), float(interval.high)),
        classes=tuple(_class_figures(confusion, i, label) for i, label in enumerate(labels)),
        confusion=tuple(map(tuple, confusion.tolist())) if len(labels) <= MOST_CLASSES else None,
        confused=_confused(confusion, labels),
        calibration_error=calibration_error(probabilities, true),
        unscaled_calibration_error=plain,
        temperature=temperature,
        worst=_worst(probabilities, given, true, labels, files),
        notes=tuple(_notes(confusion.sum(1), labels, items)),
    )


def calibration_error(probabilities: NDArray[np.float64], true: Classes) -> float:
    """Returns the expected calibration error of a model (Guo et al. 2017), with `BINS` bins of equal width.

    The images are divided into bins by the probability of their predicted class. In each bin, the absolute difference between
    the accuracy and the mean probability is computed; the result is the mean of these differences, weighted by the number of
    images.

    Args:
        probabilities: Probabilities of the classes, (n, classes), n at least 1; each row adds up to 1.
        true: Index of the true class of each image, (n,).

    Returns:
        A number in [0, 1]; 0 means that in each bin the accuracy is the mean probability.
    """
    confidence, right = probabilities.max(1), probabilities.argmax(1) == true
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    differences = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(differences).sum() / len(true))


def find_temperature(logits: Logits, true: Classes) -> float | None:
    """Returns the temperature that minimises the cross entropy of validation images, rounded to 4 decimals.

    Logits are divided by the temperature before the softmax (Guo et al. 2017, "On Calibration of Modern Neural Networks",
    section 4.2). The most likely class of an image does not change by it.

    Args:
        logits: Logits that the model computed for validation images, (n, classes), n at least 1.
        true: Index of the true class of each image, (n,).

    Returns:
        A number in the range `TEMPERATURES`; None if none that was tried gives a smaller cross entropy than undivided logits.
    """
    values, rows = np.asarray(logits, np.float64), np.arange(len(true))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(values / np.exp(log_temperature), axis=1)[rows, true].mean())

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return round(float(np.exp(found.x)), 4) if found.fun < loss(0.0) else None


def _class_figures(confusion: NDArray[np.int64], index: int, label: str) -> ClassFigures:
    images, given, right = int(confusion[index].sum()), int(confusion[:, index].sum()), int(confusion[index, index])
    return ClassFigures(
        label=label, images=images, precision=right / given if given else None, recall=right / images if images else None
    )


def _confused(confusion: NDArray[np.int64], labels: Sequence[str]) -> tuple[ConfusedPair, ...]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSED]
    pairs = (np.unravel_index(place, wrong.shape) for place in order)
    return tuple(
        ConfusedPair(label=labels[row], predicted=labels[column], images=int(wrong[row, column]))
        for row, column in pairs
        if wrong[row, column]
    )


def _worst(
    probabilities: NDArray[np.float64], given: Classes, true: Classes, labels: Sequence[str], files: Sequence[str]
) -> tuple[WrongImage, ...]:
    confidence = probabilities.max(1)
    wrong = np.flatnonzero(given != true)
    order = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_WORST]
    return tuple(
        WrongImage(file=files[i], label=labels[true[i]], predicted=labels[given[i]], probability=float(confidence[i]))
        for i in order.tolist()
    )


def _notes(counts: NDArray[np.int64], labels: Sequence[str], items: Items) -> list[str]:
    """Returns sentences on classes with few or no images or texts, and on a strong imbalance of those that have some."""
    none = [label for label, count in zip(labels, counts.tolist(), strict=True) if count == 0]
    few = [label for label, count in zip(labels, counts.tolist(), strict=True) if 0 < count < FEW]
    notes = []
    if none:
        notes.append(f"no test {items} of {_first_names(none)}: these classes have no figures")
    if few:
        notes.append(f"fewer than {FEW} test {items} of {_first_names(few)}: figures of these classes are rough")
    least, most = int(counts[counts > 0].min()), int(counts.max())
    if most >= IMBALANCE * least:
        small, large = labels[int(np.flatnonzero(counts == least)[0])], labels[int(counts.argmax())]
        notes.append(
            f"the classes are imbalanced: {most:,} test {items} of {large} and {least:,} of {small}; look at the recall of "
            "each class, and consider recipe.class_weights = auto"
        )
    return notes


def _first_names(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
    return ", ".join(labels[:MOST_NAMED]) + more
