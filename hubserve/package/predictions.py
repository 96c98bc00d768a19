"""Computes the most likely classes of an image and their probabilities from its logits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hubserve.errors import TopKError

TOP_K = 5
"""Default number of classes in an answer; a model with fewer classes answers with all of them."""


class Prediction(BaseModel):
    """One class with its probability.

    Attributes:
        label: Readable name of the class.
        index: Index of the class, counted from 0.
        probability: Probability of the class, in [0, 1]; the probabilities of all classes of the model add up to 1.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    index: int
    probability: float


def number_of_predictions(top_k: int | None, classes: int) -> int:
    """Returns how many classes an answer has: `top_k`, or for None the smaller one of `TOP_K` and `classes`.

    Args:
        top_k: The number that the caller asks for; None means the default.
        classes: Number of classes of the model.

    Raises:
        TopKError: `top_k` is not between 1 and `classes`.
    """
    if top_k is None:
        return min(TOP_K, classes)
    if not 1 <= top_k <= classes:
        raise TopKError(f"top_k = {top_k} is not between 1 and {classes}, the number of classes of this model")
    return top_k


def best_predictions(
    logits: NDArray[np.floating], labels: Sequence[str], top_k: int, *, temperature: float | None = None
) -> tuple[Prediction, ...]:
    """Returns the `top_k` most likely classes of an image, the most likely one first.

    If two classes have the same logit, the one with the lower index comes first.

    Args:
        logits: Logits of the image, (classes,).
        labels: Label of each class, in the order of the logits.
        top_k: Number of classes to return.
        temperature: Number above 0 by which the logits are divided before the softmax; None means 1.
    """
    exact = logits.astype(np.float64)
    probabilities = softmax(exact if temperature is None else exact / temperature)
    best = np.argsort(-exact, kind="stable")[:top_k]
    return tuple(Prediction(label=labels[i], index=int(i), probability=float(probabilities[i])) for i in best)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the probabilities of the classes, of the same shape as the logits; along the last axis they add up to 1."""
    likelihood = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = likelihood / likelihood.sum(axis=-1, keepdims=True)
    return shares
