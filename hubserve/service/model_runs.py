"""`ModelRuns`: gives images, texts and tensors of requests to the queue, and waits for the answers of the models."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from hubserve.errors import HubserveError
from hubserve.package.runner import Batch
from hubserve.package.signature import Array
from hubserve.service.batch_queue import BatchQueue
from hubserve.service.engine import Answer
from hubserve.service.fair_order import QueuedData
from hubserve.service.image_outcomes import outcomes_of
from hubserve.service.image_responses import Outcome
from hubserve.service.live_models import LiveModels
from hubserve.service.loaded_model import LoadedModel
from hubserve.service.name_resolution import DEFAULT
from hubserve.service.run_observer import RunObserver
from hubserve.service.tensor_engine import TensorAnswer
from hubserve.service.text_engine import AnyEngine


class ModelRuns:
    """Runs models on the images, texts and tensors of requests, in the threads of a queue, and records the outcomes.

    An error that concerns a single image or text, such as an unreadable file or a `top_k` out of range, is returned as its
    outcome and not raised.

    Args:
        live_models: The models that are loaded.
        queue: The queue of what waits.
        observer: Records requests in metrics, spans and the log of predictions.
    """

    def __init__(self, live_models: LiveModels, queue: BatchQueue, observer: RunObserver) -> None:
        self._live_models, self._queue, self._observer = live_models, queue, observer

    async def classify(
        self, name: str | None, images: Sequence[bytes | Batch], top_k: int | None, *, features: bool = False
    ) -> list[Outcome]:
        """Classifies images with the model that answers for `name`, and returns one outcome for each image, in order.

        An outcome is the tag of the version and its answer, or an error.

        Args:
            name: Name, tag or alias of the model; None takes the default model.
            images: Bytes of an image file, or a prepared array, for each image; at least one.
            top_k: Number of classes in each answer; None takes 5, or all if the model has fewer.
            features: If True, the answers have features.

        Raises:
            OtherInputsError: The model is no image classifier.
            NoFeaturesError: `features` is True, and the model has none.
            OverloadedError: Too many images are waiting; none of these was classified.
            ModelNotFoundError: The store has no such model.
            ModelRefusedError: No version of it can be loaded.
            StoreError: The store cannot be read; `StorageError` if access is denied.
        """
        model = await self._live_models.get(name or DEFAULT)
        return _tagged(model, await self.images(model, images, top_k, features=features))

    async def classify_texts(self, name: str | None, texts: Sequence[str], top_k: int | None) -> list[Outcome]:
        """Classifies texts with the model that answers for `name`, and returns one outcome for each text, in order.

        An outcome is the tag of the version and its answer, or an error.

        Args:
            name: Name, tag or alias of the model; None takes the default model.
            texts: The texts, at least one.
            top_k: Number of classes in each answer; None takes 5, or all if the model has fewer.

        Raises:
            OtherInputsError: The model is no text classifier.
            OverloadedError, ModelNotFoundError, ModelRefusedError, StoreError: As in `classify`.
        """
        model = await self._live_models.get(name or DEFAULT)
        return _tagged(model, await self.texts(model, texts, top_k))

    async def images(
        self, model: LoadedModel, images: Sequence[bytes | Batch], top_k: int | None, *, features: bool = False
    ) -> list[Answer | BaseException]:
        """Classifies images with a loaded model, and returns an answer or an error for each image, in order.

        Args:
            model: The loaded model.
            images: Bytes of an image file, or a prepared array, for each image; at least one.
            top_k: Number of classes in each answer; None takes 5, or all if the model has fewer.
            features: If True, the answers have features.

        Raises:
            OtherInputsError: The model is no image classifier.
            NoFeaturesError: `features` is True, and the model has none.
            OverloadedError: Too many images are waiting; none of these was classified.
        """
        engine = model.image_engine
        if features:
            engine.check_features()
        outcomes = await self._outcomes(model, engine, images, top_k, features=features)
        return cast("list[Answer | BaseException]", outcomes)

    async def texts(self, model: LoadedModel, texts: Sequence[str], top_k: int | None) -> list[Answer | BaseException]:
        """Classifies texts with a loaded model, and returns an answer or an error for each text, in order.

        Args:
            model: The loaded model.
            texts: The texts, at least one.
            top_k: Number of classes in each answer; None takes 5, or all if the model has fewer.

        Raises:
            OtherInputsError: The model is no text classifier.
            OverloadedError: Too much is waiting; none of these was classified.
        """
        return cast("list[Answer | BaseException]", await self._outcomes(model, model.text_engine, texts, top_k))

    async def tensors(self, model: LoadedModel, inputs: Mapping[str, Array]) -> tuple[Array, ...]:
        """Runs a loaded model of any inputs, and returns its outputs, in the order of its signature.

        Args:
            model: The loaded model, which is no image classifier.
            inputs: Arrays by the names of the inputs.

        Raises:
            TensorError: The inputs do not fit the model.
            LogitsError: An element of an output is NaN or infinite.
            ExportError: The network cannot be run.
            OverloadedError: Too much is waiting; `LateAnswerError` if inference took longer than allowed.
        """
        (outcome,) = await self._outcomes(model, model.tensor_engine or model.engine, [inputs], None)
        if isinstance(outcome, BaseException):
            raise outcome
        return cast("TensorAnswer", outcome).outputs

    async def _outcomes(
        self,
        model: LoadedModel,
        engine: AnyEngine,
        data: Sequence[QueuedData],
        top_k: int | None,
        *,
        features: bool = False,
    ) -> list[Answer | TensorAnswer | BaseException]:
        """Submits what one request has to the queue, waits for all outcomes, records them and returns them in order.

        Raises:
            OverloadedError: Too much is waiting; none of it was submitted. The error is recorded, too.
        """
        observer = self._observer
        observer.begin(model)
        try:
            submitted = self._queue.submit(engine, data, top_k, features=features)
            observer.note_inside(self._queue.inside)
            outcomes = await outcomes_of(submitted)
        except (HubserveError, asyncio.CancelledError) as error:
            observer.note_error(model, error, len(data))
            raise
        finally:
            observer.note_inside(self._queue.inside)
        observer.note(model, data, submitted, outcomes)
        return outcomes


def _tagged(model: LoadedModel, answers: Sequence[Answer | BaseException]) -> list[Outcome]:
    """Returns the answers with the tag of the model that gave them, and the errors as they are."""
    return [answer if isinstance(answer, BaseException) else (model.tag, answer) for answer in answers]
