"""`RunObserver`: records what became of the images of a request, in metrics, spans and the log of predictions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from weakref import WeakKeyDictionary

from prometheus_client import Histogram

from hubserve.service.engine import Answer
from hubserve.service.fair_order import QueuedData, QueuedImage
from hubserve.service.loaded_model import LoadedModel
from hubserve.service.metrics import WAITING
from hubserve.service.model_metrics import metrics_of
from hubserve.service.prediction_log import PredictionLog
from hubserve.service.request_identity import CURRENT
from hubserve.service.tensor_engine import TensorAnswer
from hubserve.service.text_engine import AnyEngine
from hubserve.service.tracing import Tracing


class RunObserver:
    """Records the images of requests. All methods but `note_batch` are called in the thread of the event loop.

    Args:
        tracing: Adds spans of the images to traced requests; None if requests are not traced.
        predictions: Writes what was predicted; None if nothing is written.
    """

    def __init__(self, tracing: Tracing | None = None, predictions: PredictionLog | None = None) -> None:
        self._tracing, self._predictions = tracing, predictions
        self._batches: WeakKeyDictionary[AnyEngine, Histogram] = WeakKeyDictionary()

    def begin(self, model: LoadedModel) -> None:
        """Records which metrics belong to the engines of a model, for `note_batch`, and which backend runs it.

        It must be called before images are submitted to the model.
        """
        numbers = metrics_of(model.tag)
        if self._batches.get(model.engine) is not numbers.batches:
            # A text classifier is also run on tensors.
            self._batches |= {engine: numbers.batches for engine in (model.engine, model.tensor_engine) if engine is not None}
            numbers.note_backend(model.engine.backend)

    def note_batch(self, engine: AnyEngine, size: int) -> None:
        """Counts a batch of `size` images, if `begin` was called for the model. It is called in the threads of the queue."""
        if (found := self._batches.get(engine)) is not None:
            found.observe(size)

    def note_inside(self, count: int) -> None:
        """Sets the number of images that wait or are being classified."""
        WAITING.set(count)

    def note_error(self, model: LoadedModel, error: BaseException, count: int) -> None:
        """Records `count` images of a request of which none was answered, because of `error`."""
        metrics_of(model.tag).note_error(error, count)

    def note(
        self,
        model: LoadedModel,
        data: Sequence[QueuedData],
        images: Sequence[QueuedImage],
        outcomes: Sequence[Answer | TensorAnswer | BaseException],
    ) -> None:
        """Records a request whose images were answered.

        Args:
            model: The model.
            data: What was submitted for each image; the log of predictions leaves out tensors.
            images: The images, at least one.
            outcomes: Answer or error of each image, in the same order.
        """
        metrics_of(model.tag).note(images, outcomes, time.perf_counter() - images[0].submitted)
        if self._tracing is None and self._predictions is None:
            return
        identity = CURRENT.get()
        if self._tracing is not None and identity is not None:
            self._tracing.note_images(identity, model.tag, images, outcomes)
        if self._predictions is not None:
            self._predictions.note(None if identity is None else identity.id, model.tag, data, outcomes)

    def close(self) -> None:
        """Sends the spans and writes the predictions that wait, as `Tracing.close` and `PredictionLog.close` do."""
        if self._tracing is not None:
            self._tracing.close()
        if self._predictions is not None:
            self._predictions.close()
