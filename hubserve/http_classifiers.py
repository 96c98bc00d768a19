"""Classifiers for `hubserve.accuracy.evaluate` that ask a running service over HTTP, for images and for texts."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from hubserve.accuracy import Logits
from hubserve.client import Client
from hubserve.errors import DatasetError, ServiceError

PROBABILITY_TOLERANCE = 1e-6
"""Largest difference from 1 of the sum of the probabilities that a service answers with."""

REQUESTS = 4
"""Number of requests with an image at the same time."""


class _HttpClassifier:
    """Base class of the classifiers of images and of texts: connects to the service, and turns its answers into logits.

    The service answers with probabilities. Their logarithms times the temperature stand for the logits: they differ from them
    by the same number for all classes of an image or text, which changes no figure of a report.

    Args:
        url: Address of the service, without a path.
        labels: Names of the model's classes, in the order of their indices; the probabilities of all of them are asked for.
        model: Name, alias or tag of the model; None asks for the service's default model.
        temperature: Temperature of the model, which is in the probabilities already; None is 1.
        token: Secret token that the service wants for reading; None sends none.

    Raises:
        ServiceError: `url` is not the address of a service.
    """

    def __init__(
        self,
        url: str,
        *,
        labels: Sequence[str],
        model: str | None = None,
        temperature: float | None = None,
        token: str | None = None,
    ) -> None:
        self._client = Client(url, token)
        self._labels, self._model, self._temperature = labels, model, temperature or 1.0

    def close(self) -> None:
        """Closes the connections to the service."""
        self._client.close()

    def _logits(self, answer: Mapping[str, Any]) -> Logits:
        """Returns what stands for the logits, (classes,), in the answer for an image or text.

        Raises:
            DatasetError: The model of the service has other classes.
        """
        probabilities = np.zeros(len(self._labels))
        for prediction in answer["predictions"]:
            index = prediction["index"]
            if index >= len(self._labels) or prediction["label"] != self._labels[index]:
                raise self._other_classes(f"class {index} is {prediction['label']!r}")
            probabilities[index] = prediction["probability"]
        if abs(probabilities.sum() - 1) > PROBABILITY_TOLERANCE:
            raise self._other_classes("it has more of them")
        # A probability may be too small for a float.
        return self._temperature * np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))

    def _other_classes(self, difference: str) -> DatasetError:
        return DatasetError(
            f"{self._client.url} has another model {self._model or ''} than this machine, with other classes: {difference}"
        )


class HttpClassifier(_HttpClassifier):
    """Classifier that sends each image to a running service in a request of its own, several requests at the same time.

    A request that the service refuses because of its load (503) is sent again, as `Client` does.

    Calling it with image files returns what stands for the logits of each; None for a file that cannot be read or is empty, and
    for an image that the service refuses as unreadable (415) or too large (413). It raises DatasetError if the service does not
    answer, or refuses a request for another reason, or if its model has other classes.

    Arguments are those of `_HttpClassifier`.
    """

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(REQUESTS)

    def __call__(self, files: Sequence[Path]) -> list[Logits | None]:
        return list(self._pool.map(self._ask, files))

    def _ask(self, path: Path) -> Logits | None:
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if not data:
            return None  # The service would refuse an empty body with 400, as a request without an image, not with 415.
        try:
            answer = self._client.classify(data, model=self._model, top_k=len(self._labels))
        except ServiceError as error:
            if error.status in (413, 415):
                return None
            raise DatasetError(f"{path}: {error}" if error.status else str(error)) from error
        return self._logits(answer)


class HttpTextClassifier(_HttpClassifier):
    """Classifier that sends texts to a running service, all texts of a call in one request.

    Calling it with texts returns what stands for the logits of each. It raises DatasetError if the service does not answer, or
    refuses the request or any of the texts, or if its model has other classes. Arguments are those of `_HttpClassifier`.
    """

    def __call__(self, texts: Sequence[str]) -> list[Logits | None]:
        try:
            answers = self._client.classify_text(list(texts), len(self._labels), model=self._model)
        except ServiceError as error:
            raise DatasetError(str(error)) from error
        return [self._logits(answer) for answer in answers]
