"""The answers of the service, and the errors that a client raises for the others."""

from __future__ import annotations

from typing import Any, TypedDict, cast

import httpx2

from hubserve.errors import ServiceError

MOST_TEXT = 300
"""Largest number of characters of an answer that an error shows."""


class PredictedClass(TypedDict):
    """One class with its probability.

    Attributes:
        label: Readable name of the class.
        index: Index of the class, counted from 0.
        probability: Probability in [0, 1].
    """

    label: str
    index: int
    probability: float


class ClassifiedImage(TypedDict):
    """The answer of the service to one image.

    Attributes:
        model: Tag of the version that answered.
        predictions: The most likely classes, the most likely one first.
        timing_ms: Milliseconds that the service needed: "decode" for decoding and preprocessing, "infer" for inference.
    """

    model: str
    predictions: list[PredictedClass]
    timing_ms: dict[str, float]


class EmbeddedImage(TypedDict):
    """The features that the service returns for one image.

    Attributes:
        model: Tag of the version that answered.
        features: Inputs of the layer that computes the logits; each is a float32.
    """

    model: str
    features: list[float]


class ClassifiedText(TypedDict):
    """The answer of the service to one text.

    Attributes:
        model: Tag of the version that answered.
        predictions: The most likely classes, the most likely one first.
        timing_ms: Milliseconds that the service needed: "tokenize" for turning the text into tokens, "infer" for inference.
    """

    model: str
    predictions: list[PredictedClass]
    timing_ms: dict[str, float]


def check_url(url: str) -> str:
    """Returns the address of a service without "/" at its end. Raises ServiceError if it is no http(s) URL with a host."""
    try:
        parsed = httpx2.URL(url)
        usable = parsed.scheme in ("http", "https") and parsed.host != ""
    except (httpx2.InvalidURL, TypeError):
        usable = False
    if not usable:
        raise ServiceError(f"url = {url!r} is not the address of a service; an address is like 'http://127.0.0.1:3000'")
    return url.rstrip("/")


def parse_answer(url: str, outcome: httpx2.Response | httpx2.HTTPError, *, attempts: int, key: str) -> dict[str, Any]:
    """Returns the answer of the service to an image, to a text, or to several texts.

    Args:
        url: Address that was asked, for messages.
        outcome: Answer, or the error that there was in its place.
        attempts: Number of times that the request was sent, for messages.
        key: Key of the answer whose value is a list: "predictions" or "features", and "results" for several texts.

    Raises:
        ServiceError: There was no answer, it has another status than 200, or it is not an answer of the service.
    """
    after = f" (after {attempts} attempts)" if attempts > 1 else ""
    if isinstance(outcome, httpx2.HTTPError):
        raise ServiceError(f"{url} does not answer: {type(outcome).__name__}: {outcome}{after}") from outcome
    if outcome.status_code != 200:
        raise ServiceError(f"{url} answers {outcome.status_code}: {_message(outcome)}{after}", outcome.status_code)
    found = _json(outcome)
    if not isinstance(found, dict) or not isinstance(found.get(key), list):
        raise _another_answer(url, outcome, key)
    return found


def parse_texts(
    url: str, outcome: httpx2.Response | httpx2.HTTPError, *, attempts: int, several: bool
) -> ClassifiedText | list[ClassifiedText]:
    """Returns the answer of the service to a text, or its answers to several.

    Args:
        url: Address that was asked, for messages.
        outcome: Answer, or the error that there was in its place.
        attempts: Number of times that the request was sent, for messages.
        several: Whether a list of texts was sent.

    Raises:
        ServiceError: As `parse_answer`; or one of several texts was refused, which the message names: `status` is 200 then.
    """
    if not several:
        return cast("ClassifiedText", parse_answer(url, outcome, attempts=attempts, key="predictions"))
    results = parse_answer(url, outcome, attempts=attempts, key="results")["results"]
    for place, found in enumerate(results):
        error = found.get("error") if isinstance(found, dict) else None
        if isinstance(error, dict):
            raise ServiceError(f"{url} refuses text {place}, counted from 0: {error.get('message')}", 200)
        if not isinstance(found, dict) or not isinstance(found.get("predictions"), list):
            raise _another_answer(url, outcome, "predictions")
    return cast("list[ClassifiedText]", results)


def _another_answer(url: str, outcome: httpx2.Response | httpx2.HTTPError, key: str) -> ServiceError:
    """Returns the error for an answer without the list `key`."""
    text = outcome.text if isinstance(outcome, httpx2.Response) else ""
    return ServiceError(f"{url} answers with something else than {key}: {text[:MOST_TEXT]!r}", 200)


def _message(answer: httpx2.Response) -> str:
    """Returns the message of an answer that is an error of the service; of any other one, the first `MOST_TEXT` characters."""
    found = _json(answer)
    error = found.get("error") if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return message if isinstance(message, str) else answer.text[:MOST_TEXT]


def _json(answer: httpx2.Response) -> Any:
    """Returns the value of the JSON in an answer; None if the answer is not JSON."""
    try:
        return answer.json()
    except (ValueError, RecursionError):
        return None
