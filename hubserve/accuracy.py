"""Measures the accuracy of a model on labelled images or texts; `hubserve.http_classifiers` has classifiers for a service.

`evaluate` makes the same report, `hubserve.package.accuracy_report.AccuracyReport`, as the test phase of a job.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hubserve.accuracy_from_logits import accuracy_report
from hubserve.data.image_folder import LabelledImages
from hubserve.data.labelled_texts import LabelledTexts
from hubserve.data.match_class_folders import Rule
from hubserve.errors import DatasetError, ImageError
from hubserve.host import cores
from hubserve.package.accuracy_report import AccuracyReport
from hubserve.package.runner import check_finite
from hubserve.preprocess import Preprocess, decode_pixels

TOP = 5

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Function from preprocessed images, (n, 3, height, width), to their logits, (n, classes)."""

Logits = NDArray[np.floating]
"""Logits of one image, (classes,)."""

Classifier = Callable[[Sequence[Path]], list[Logits | None]]
"""Function from image files to the logits of each; a file that is not a readable image gives None."""

TextClassifier = Callable[[Sequence[str]], list[Logits | None]]
"""Function from texts to the logits of each; none of them is None."""


class Accuracy(BaseModel):
    """Result of `evaluate`: how many of the labelled images or texts a model classified correctly.

    `accuracy.items` says which of the two the numbers of images count.

    Attributes:
        model: Name of the model that was evaluated.
        backend: Name of the backend that ran it: "eager", "torchscript", "onnx", another export format, or "http".
        images: Number of images that were classified.
        top1_hits: Number of images whose most likely class is the labelled one.
        top5_hits: Number of images whose labelled class is among the five most likely ones.
        top1: `top1_hits` in percent of `images`.
        top5: `top5_hits` in percent of `images`.
        top1_interval: Lower and upper end of the 95 % Wilson confidence interval of `top1`, in percent.
        rule: How the names of folders were mapped to classes; `LabelledImages.rule` lists the values.
        unreadable: Paths of the files that are not readable images; they do not count in `images`.
        seconds: Duration of the evaluation in seconds.
        drawn: Whether the images are those that were drawn to test the model, of the data that it was trained on.
        trained_on: Number of the images that trained the model, or validated it, while it was made by a job; None if it is not
            known. `hubserve eval` counts them.
        accuracy: Report of the same kind as in a job's status and in accuracy.json of a package; its shares are in [0, 1].
    """

    model_config = ConfigDict(frozen=True)

    model: str
    backend: str
    images: int
    top1_hits: int
    top5_hits: int
    top1: float
    top5: float
    top1_interval: tuple[float, float]
    rule: Rule
    unreadable: tuple[str, ...]
    seconds: float
    drawn: bool = False
    trained_on: int | None = None
    accuracy: AccuracyReport


def evaluate(
    classifier: Callable[[Sequence[Any]], list[Logits | None]],
    images: LabelledImages | LabelledTexts,
    *,
    labels: Sequence[str],
    model: str,
    backend: str,
    dataset: str,
    temperature: float | None = None,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda count: None,
) -> Accuracy:
    """Classifies all images, or texts, compares the predictions with the labels, and returns the accuracy.

    Errors that `classifier` raises are passed on.

    Args:
        classifier: Classifier to evaluate: a `Classifier` of images, or a `TextClassifier` of texts.
        images: Image files, or texts, with the indices of their classes; at least one.
        labels: Names of the model's classes, in the order of their indices.
        model: Name of the model, copied to `Accuracy.model`.
        backend: Name of the backend, copied to `Accuracy.backend`.
        dataset: Name of the data, copied to the report.
        temperature: Number above 0 by which the model's logits are divided before the softmax; None leaves them as they are.
        batch_size: Number of files, or texts, in one call of the classifier, at least 1.
        advance: Function that is called after each batch with the number of its files, for a progress bar.

    Raises:
        DatasetError: None of the files is a readable image.
    """
    start = time.perf_counter()
    answers: list[Logits | None] = []
    for begin in range(0, len(images.items), batch_size):
        batch = images.items[begin : begin + batch_size]
        answers.extend(classifier([item for item, _ in batch]))
        advance(len(batch))
    judged = [index for index, answer in enumerate(answers) if answer is not None]
    if not judged:
        raise DatasetError(f"none of the {len(answers)} files is a readable image, the first: {images.items[0][0]}")
    logits = np.stack([answer for answer in answers if answer is not None])
    true = np.array([images.items[index][1] for index in judged])
    names = images.files
    files = [names[index] for index in judged]
    report = accuracy_report(logits, true, labels, files, dataset=dataset, temperature=temperature, items=images.kind)
    # Classes in the order of their logits, the lower index first where two are equal, as in the answers of the service.
    hits = np.argsort(-logits, axis=1, kind="stable")[:, :TOP] == true[:, None]
    top1_hits, top5_hits = int(hits[:, 0].sum()), int(hits.sum())
    low, high = report.top1_interval
    return Accuracy(
        model=model,
        backend=backend,
        images=len(judged),
        top1_hits=top1_hits,
        top5_hits=top5_hits,
        top1=100 * top1_hits / len(judged),
        top5=100 * top5_hits / len(judged),
        top1_interval=(100 * low, 100 * high),
        rule=images.rule,
        unreadable=tuple(str(item) for (item, _), answer in zip(images.items, answers, strict=True) if answer is None),
        seconds=time.perf_counter() - start,
        drawn=images.drawn,
        accuracy=report,
    )


class LocalClassifier:
    """Classifier that runs a loaded model in this process; images are decoded and preprocessed on several threads.

    It is a `Classifier`: called with files, it returns the logits of each, and None for one that is no readable image. A
    call raises LogitsError if a logit is NaN or infinite; errors of `predict` are passed on.

    Args:
        predict: Function that runs the model on a batch of preprocessed images and returns its logits.
        preprocess: Preprocessing of the model; its reference implementation is used.
        workers: Number of threads that decode images; None takes one for each core that this process may use.
    """

    def __init__(self, predict: Predict, preprocess: Preprocess, *, workers: int | None = None) -> None:
        self._predict = predict
        self._preprocess = preprocess
        self._pool = ThreadPoolExecutor(workers or cores())

    def __call__(self, files: Sequence[Path]) -> list[Logits | None]:
        prepared = list(self._pool.map(self._prepare, files))
        readable = [image for image in prepared if image is not None]
        if not readable:
            return [None] * len(files)
        logits = self._predict(np.stack(readable))
        check_finite(logits)
        answers = iter(logits)
        return [None if image is None else next(answers) for image in prepared]

    def _prepare(self, path: Path) -> NDArray[np.float32] | None:
        try:
            return self._preprocess.fast(decode_pixels(path.read_bytes()))
        except (ImageError, OSError):
            return None
