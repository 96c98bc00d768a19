"""Accuracy of a classifier over labelled pictures, whatever runs it: a loaded model or a service behind HTTP."""

from __future__ import annotations

import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hubserve.data.image_folder import LabelledImages, Rule
from hubserve.errors import DatasetError, ImageError
from hubserve.preprocess import Preprocess, decode_image

TOP = 5

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Prepared pictures (n, 3, height, width) -> logits (n, classes)."""


class Accuracy(BaseModel):
    """How often a model is right.

    Attributes:
        model: what was evaluated.
        backend: what ran it: "eager", "torchscript", "onnx" or "http".
        images: that were judged.
        top1_hits: pictures whose best class is right.
        top5_hits: pictures with the right class among the best five.
        top1: percent.
        top5: percent.
        top1_interval: 95 % Wilson interval of top1, in percent.
        rule: how folders became classes; see LabelledImages.
        unreadable: files that are no pictures; they are not judged.
        seconds: it took.
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


class Classifier(Protocol):
    """Names the best classes of pictures, given their files."""

    def __call__(self, files: Sequence[Path]) -> list[list[int] | None]:
        """The best five classes of each file, best first; None where it is no picture."""
        ...


def evaluate(
    classifier: Classifier,
    pictures: LabelledImages,
    *,
    model: str,
    backend: str,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda count: None,
) -> Accuracy:
    """Judges `classifier` on `pictures`, telling `advance` how many more are done.

    Raises:
        DatasetError: not one file is a readable picture.
    """
    start = time.perf_counter()
    best: list[tuple[int, list[int] | None]] = []
    for batch in _batches(pictures.items, batch_size):
        answers = classifier([path for path, _ in batch])
        best.extend((label, answer) for (_, label), answer in zip(batch, answers, strict=True))
        advance(len(batch))
    judged = [(label, answer) for label, answer in best if answer is not None]
    if not judged:
        raise DatasetError(f"none of the {len(best)} files is a readable picture, the first: {pictures.items[0][0]}")
    hits1 = sum(answer[0] == label for label, answer in judged)
    hits5 = sum(label in answer for label, answer in judged)
    return Accuracy(
        model=model,
        backend=backend,
        images=len(judged),
        top1_hits=hits1,
        top5_hits=hits5,
        top1=100 * hits1 / len(judged),
        top5=100 * hits5 / len(judged),
        top1_interval=_wilson(hits1, len(judged)),
        rule=pictures.rule,
        unreadable=tuple(str(path) for (path, _), (_, answer) in zip(pictures.items, best, strict=True) if answer is None),
        seconds=time.perf_counter() - start,
    )


class LocalClassifier:
    """A loaded model, fed by the reference preprocessing, with pictures decoded on a few threads.

    Args:
        predict: the model.
        preprocess: of the model.
        workers: threads that decode; the cores of this process unless given.
    """

    def __init__(self, predict: Predict, preprocess: Preprocess, *, workers: int | None = None) -> None:
        self._predict = predict
        self._preprocess = preprocess
        self._pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)

    def __call__(self, files: Sequence[Path]) -> list[list[int] | None]:
        prepared = list(self._pool.map(self._prepare, files))
        readable = [picture for picture in prepared if picture is not None]
        if not readable:
            return [None] * len(files)
        answers = iter(np.argsort(-self._predict(np.stack(readable)), axis=1, kind="stable")[:, :TOP].tolist())
        return [None if picture is None else next(answers) for picture in prepared]

    def _prepare(self, path: Path) -> NDArray[np.float32] | None:
        try:
            return self._preprocess.reference(decode_image(path.read_bytes()))
        except (ImageError, OSError):
            return None


class HttpClassifier:
    """A running service; each picture is a request of its own, a few at a time.

    Args:
        url: of the service, without /classify.
        model: name or tag; the service's default unless given.
        workers: requests at the same time.
    """

    def __init__(self, url: str, *, model: str | None = None, workers: int = 4) -> None:
        self._url = f"{url.rstrip('/')}/classify"
        # The service names five classes, or fewer where there are no more.
        self._parameters = {"model": model} if model else {}
        self._client = httpx.Client(timeout=60)
        self._pool = ThreadPoolExecutor(workers)

    def __call__(self, files: Sequence[Path]) -> list[list[int] | None]:
        return list(self._pool.map(self._ask, files))

    def _ask(self, path: Path) -> list[int] | None:
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if not data:
            return None  # To the service, an empty body is no picture at all rather than one that it cannot read.
        try:
            answer = self._client.post(self._url, params=self._parameters, content=data)
        except httpx.HTTPError as error:
            raise DatasetError(f"{self._url} does not answer: {type(error).__name__}: {error}") from error
        if answer.status_code in (413, 415):
            return None
        if answer.status_code != 200:
            raise DatasetError(f"{self._url} answers {answer.status_code} for {path}: {answer.text[:300]}")
        return [prediction["index"] for prediction in answer.json()["predictions"]]


def _batches(items: Sequence[tuple[Path, int]], size: int) -> Iterator[list[tuple[Path, int]]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    share = hits / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return 100 * (centre - reach), 100 * (centre + reach)
