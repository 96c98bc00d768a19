"""Accuracy of a classifier over labelled images: top-1 and top-5 of a loaded model, or of a service behind HTTP."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.stats import binomtest

from hubserve.client import Client
from hubserve.data.image_folder import LabelledImages, Rule
from hubserve.errors import DatasetError, ImageError, ServiceError
from hubserve.host import cores
from hubserve.package.runner import check_finite
from hubserve.preprocess import Preprocess, decode_image

TOP = 5

Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Prepared images (n, 3, height, width) -> logits (n, classes)."""

Classifier = Callable[[Sequence[Path]], list[list[int] | None]]
"""Image files -> the indices of the best five classes of each, best first; None for a file that is no readable image."""


class Accuracy(BaseModel):
    """How often a model is right about labelled images.

    Attributes:
        model: Name of the model that was evaluated.
        backend: What ran it: "eager", "torchscript", "onnx", another export format, or "http" for a service.
        images: Number of images that were classified.
        top1_hits: Number of images whose best class is right.
        top5_hits: Number of images with the right class among the best five.
        top1: Share of `top1_hits` in percent.
        top5: Share of `top5_hits` in percent.
        top1_interval: 95 % Wilson interval of `top1`, in percent.
        rule: How folders became classes; see LabelledImages.
        unreadable: Files that are no readable images; they are not among `images`.
        seconds: Duration of the evaluation.
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


def evaluate(
    classifier: Classifier,
    images: LabelledImages,
    *,
    model: str,
    backend: str,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda count: None,
) -> Accuracy:
    """Classifies all images and compares the answers with their classes.

    Args:
        classifier: Classifier that is evaluated.
        images: Images with their classes.
        model: Name of the model, for the result.
        backend: What runs the model, for the result.
        batch_size: Number of files that the classifier gets at a time.
        advance: Called after each batch with its number of files, for a progress bar.

    Raises:
        DatasetError: None of the files is a readable image.
    """
    start = time.perf_counter()
    answers: list[list[int] | None] = []
    for begin in range(0, len(images.items), batch_size):
        batch = images.items[begin : begin + batch_size]
        answers.extend(classifier([path for path, _ in batch]))
        advance(len(batch))
    judged = [(label, answer) for (_, label), answer in zip(images.items, answers, strict=True) if answer is not None]
    if not judged:
        raise DatasetError(f"none of the {len(answers)} files is a readable image, the first: {images.items[0][0]}")
    top1_hits = sum(answer[0] == label for label, answer in judged)
    top5_hits = sum(label in answer for label, answer in judged)
    interval = binomtest(top1_hits, len(judged)).proportion_ci(0.95, method="wilson")
    return Accuracy(
        model=model,
        backend=backend,
        images=len(judged),
        top1_hits=top1_hits,
        top5_hits=top5_hits,
        top1=100 * top1_hits / len(judged),
        top5=100 * top5_hits / len(judged),
        top1_interval=(100 * interval.low, 100 * interval.high),
        rule=images.rule,
        unreadable=tuple(str(path) for (path, _), answer in zip(images.items, answers, strict=True) if answer is None),
        seconds=time.perf_counter() - start,
    )


class LocalClassifier:
    """A loaded model with the reference preprocessing; images are decoded on a few threads.

    Args:
        predict: The model, from a batch of prepared images to logits.
        preprocess: Preparation of the images.
        workers: Number of threads that decode; None takes one for each core that this process may use.
    """

    def __init__(self, predict: Predict, preprocess: Preprocess, *, workers: int | None = None) -> None:
        self._predict = predict
        self._preprocess = preprocess
        self._pool = ThreadPoolExecutor(workers or cores())

    def __call__(self, files: Sequence[Path]) -> list[list[int] | None]:
        prepared = list(self._pool.map(self._prepare, files))
        readable = [image for image in prepared if image is not None]
        if not readable:
            return [None] * len(files)
        logits = self._predict(np.stack(readable))
        check_finite(logits)
        answers = iter(np.argsort(-logits, axis=1, kind="stable")[:, :TOP].tolist())
        return [None if image is None else next(answers) for image in prepared]

    def _prepare(self, path: Path) -> NDArray[np.float32] | None:
        try:
            return self._preprocess.reference(decode_image(path.read_bytes()))
        except (ImageError, OSError):
            return None


class HttpClassifier:
    """A running service; each image is a request of its own, a few of them at a time.

    Calling it raises DatasetError where the service does not answer, or refuses the request for another reason than the image.

    Args:
        url: Address of the service, without /classify.
        model: Name, alias or tag of the model; None asks for the service's default model.
        workers: Number of requests at the same time.
    """

    def __init__(self, url: str, *, model: str | None = None, workers: int = 4) -> None:
        self._client = Client(url)
        self._model = model
        self._pool = ThreadPoolExecutor(workers)

    def close(self) -> None:
        """Closes the connections to the service."""
        self._client.close()

    def __call__(self, files: Sequence[Path]) -> list[list[int] | None]:
        return list(self._pool.map(self._ask, files))

    def _ask(self, path: Path) -> list[int] | None:
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if not data:
            return None  # The service answers an empty body as a request without an image, not as an unreadable one.
        try:
            # It gives five classes, or fewer where there are no more.
            answer = self._client.classify(data, model=self._model)
        except ServiceError as error:
            if error.status in (413, 415):
                return None
            raise DatasetError(f"{path}: {error}" if error.status else str(error)) from error
        return [prediction["index"] for prediction in answer["predictions"]]
