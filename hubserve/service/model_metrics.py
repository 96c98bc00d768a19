"""`ModelMetrics`: counts the requests, images, errors and times of each version, in metrics with its tag as the label `model`.

The number of tags is bounded by `MOST_MODELS`, because a server may run for months while versions are published.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Sequence

from prometheus_client import Counter, Gauge, Histogram

from hubserve.errors import HubserveError
from hubserve.service.engine import Answer
from hubserve.service.fair_order import QueuedImage
from hubserve.service.metrics_files import use_allocated_files
from hubserve.service.supervised_worker import METRICS_FOLDER
from hubserve.service.tensor_engine import TensorAnswer

use_allocated_files()

MOST_MODELS = 100
"""Largest number of versions that have metrics of their own in a process; see `metrics_of`."""

OTHER = "other"
"""Label of the versions beyond `MOST_MODELS`, with several workers."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

REQUESTS = Counter("hubserve_model_requests", "Requests whose images or texts a version was given.", ["model"])
REQUEST_SECONDS = Histogram(
    "hubserve_model_request_seconds",
    "From the admission of images to the last answer.",
    ["model"],
    buckets=_SECONDS,
)
IMAGES = Counter("hubserve_model_images", "Images and texts that were classified.", ["model"])
ERRORS = Counter("hubserve_model_errors", "Images, and refused requests, that got an error, by its kind.", ["model", "kind"])
STEP_SECONDS = Histogram(
    "hubserve_model_step_seconds", "Time of an image in the steps queue, decode and infer.", ["model", "step"], buckets=_SECONDS
)
BATCHES = Histogram("hubserve_batch_images", "Images of a batch.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64))
BACKEND = Gauge(
    "hubserve_model_backend", "1 for the backend that runs a version.", ["model", "backend"], multiprocess_mode="livemax"
)
CONFIDENCE = Histogram(
    "hubserve_model_confidence",
    "Probability of the most likely class of an image.",
    ["model"],
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
)


class ModelMetrics:
    """The Prometheus metrics of one version. They are looked up by their labels once, because that takes longer than counting.

    Args:
        tag: Tag of the version, or `OTHER`.

    Attributes:
        tag: The label.
        batches: Histogram of the sizes of its batches.
    """

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.batches = BATCHES.labels(tag)
        self._requests, self._request_seconds = REQUESTS.labels(tag), REQUEST_SECONDS.labels(tag)
        self._images, self._confidence = IMAGES.labels(tag), CONFIDENCE.labels(tag)
        self._steps = {step: STEP_SECONDS.labels(tag, step) for step in ("queue", "decode", "infer")}
        self._kinds: set[str] = set()
        self._backends: set[str] = set()

    def note_backend(self, backend: str) -> None:
        """Records that `backend`, such as "onnx", runs the version from now on: it gets 1, those before it get 0."""
        self._backends.add(backend)
        for name in self._backends:
            BACKEND.labels(self.tag, name).set(name == backend)

    def note(
        self, images: Sequence[QueuedImage], outcomes: Sequence[Answer | TensorAnswer | BaseException], seconds: float
    ) -> None:
        """Counts a request, its images and their errors, and records its time and that of each step of an image.

        A text, or the tensors of one request, count as an image.

        Args:
            images: The images of the request.
            outcomes: Answer or error of each image, in the same order.
            seconds: Time from the admission of the images to the last answer.
        """
        self._requests.inc()
        self._request_seconds.observe(seconds)
        for image, outcome in zip(images, outcomes, strict=True):
            for step, start, end in image.steps:
                self._steps[step].observe(end - start)
            if isinstance(outcome, BaseException):
                self.note_error(outcome)
            else:
                self._images.inc()
            if isinstance(outcome, Answer):
                self._confidence.observe(outcome.predictions[0].probability)

    def note_error(self, error: BaseException, count: int = 1) -> None:
        """Counts `count` images that got an error.

        Its kind is the name of its class, "Cancelled" for images that nobody waits for any more, and "InternalError" for
        exceptions of other libraries.
        """
        kind = type(error).__name__ if isinstance(error, HubserveError) else "InternalError"
        kind = "Cancelled" if isinstance(error, asyncio.CancelledError) else kind
        self._kinds.add(kind)
        ERRORS.labels(self.tag, kind).inc(count)

    def remove(self) -> None:
        """Removes these metrics from the answer of /metrics."""
        for metric in (REQUESTS, REQUEST_SECONDS, IMAGES, BATCHES, CONFIDENCE):
            metric.remove(self.tag)
        for step in self._steps:
            STEP_SECONDS.remove(self.tag, step)
        for kind in self._kinds:
            ERRORS.remove(self.tag, kind)
        for backend in self._backends:
            BACKEND.remove(self.tag, backend)


_of_tags: OrderedDict[str, ModelMetrics] = OrderedDict()


def metrics_of(tag: str) -> ModelMetrics:
    """Returns the metrics of the version `tag`, and makes them if there are none. Must be called in one thread.

    Beyond `MOST_MODELS`, those of the version that was not used for the longest time are removed. With several workers, whose
    metrics are in files that cannot be made shorter, the metrics of further versions are counted as `OTHER` instead.
    """
    found = _of_tags.get(tag)
    if found is not None:
        _of_tags.move_to_end(tag)
        return found
    if len(_of_tags) >= MOST_MODELS:
        if METRICS_FOLDER in os.environ:
            return metrics_of(OTHER) if tag != OTHER else _added(OTHER)
        _of_tags.popitem(last=False)[1].remove()
    return _added(tag)


def _added(tag: str) -> ModelMetrics:
    """Returns new metrics of a version, which are kept."""
    _of_tags[tag] = made = ModelMetrics(tag)
    return made
