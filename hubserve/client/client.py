"""The clients of a running service, which send images and texts and return their classes: `Client` and `AsyncClient`."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import TYPE_CHECKING, Any, cast, overload

import anyio
import httpx2

from hubserve.client.answers import (
    ClassifiedImage,
    ClassifiedText,
    EmbeddedImage,
    check_url,
    parse_answer,
    parse_texts,
)
from hubserve.client.image_bytes import image_bytes
from hubserve.client.retries import Retries

if TYPE_CHECKING:
    from hubserve.client.image_bytes import SentImage

Texts = list[str] | tuple[str, ...]
"""Several texts. Any sequence would do, but a text is one of texts, too."""


class Client:
    """Client of a running service. It may be called by several threads at the same time.

    Call `close` after use, or use the client as a context manager. `AsyncClient` is the same for asynchronous code.

    A request is sent again if the service refuses it because of its load (503, 429), if a proxy does not reach the service
    (502, 504), and if the connection is refused or breaks off, but not after a timeout. Before that the client waits as long as
    the header Retry-After of the answer asks, and without one 0.25 seconds, then 0.5, and so on; up to 10 % longer at random.

    Args:
        url: Address of the service, such as "http://127.0.0.1:3000".
        token: Secret token to send with each request; None sends none.
        timeout_seconds: Longest wait in seconds for each step of a request: to connect, to send, and for more of the answer.
        retries: Largest number of times that a request is sent again; 0 sends it once.
        longest_wait_seconds: Longest wait in seconds before a request is sent again. Where the service asks for a longer one,
            its refusal is raised at once.

    Raises:
        ServiceError: `url` is no http or https URL with a host; no connection is made.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        retries: int = 3,
        longest_wait_seconds: float = 30.0,
    ) -> None:
        self.url = check_url(url)
        self._retries = Retries(retries, longest_wait_seconds)
        self._http = httpx2.Client(headers=_headers(token), timeout=timeout_seconds)

    def classify(self, image: SentImage, top_k: int | None = None, *, model: str | None = None) -> ClassifiedImage:
        """Classifies an image and returns its most likely classes.

        Args:
            image: Path of an image file, bytes of one, array of pixels (height, width, 3) uint8 in RGB or of another shape that
                `hubserve.preprocess.ImageInput` names, or image of Pillow. An array and an image of Pillow are sent as PNG,
                without loss; large ones may exceed the size of a request that the service allows, 20 MB by default, where a
                JPEG file does not.
            top_k: Number of classes to return, from 1 to the number of classes of the model; None returns five, or all classes
                if there are fewer.
            model: Name, alias or tag of the model; None means the default model of the service.

        Returns:
            The JSON answer of the service: "model" is the tag of the model; "predictions" is a list of objects with "label",
            "index" and "probability", the most likely class first.

        Raises:
            ImageError: A file cannot be opened, or an array has another shape or type.
            ServiceError: The service does not answer, or refuses the request; `status` is 413 if the image is too large, and
                415 if it is not readable.
        """
        answer = self._ask("classify", image, _query(top_k, model), key="predictions")
        return cast("ClassifiedImage", answer)

    def embed(self, image: SentImage, *, model: str | None = None) -> EmbeddedImage:
        """Returns the features of an image: the input of the layer that computes the logits, as `ImageClassifier.features`.

        Args:
            image: See `classify`.
            model: Name, alias or tag of the model; None means the default model of the service.

        Returns:
            The JSON answer of the service: "model" is the tag of the model; "features" is a list of numbers.

        Raises:
            ImageError: A file cannot be opened, or an array has another shape or type.
            ServiceError: The service does not answer, or refuses the request; `status` is 422 if the model was exported
                without features, 413 if the image is too large, and 415 if it is not readable.
        """
        return cast("EmbeddedImage", self._ask("embed", image, _query(None, model), key="features"))

    @overload
    def classify_text(self, text: str, top_k: int | None = None, *, model: str | None = None) -> ClassifiedText: ...

    @overload
    def classify_text(self, text: Texts, top_k: int | None = None, *, model: str | None = None) -> list[ClassifiedText]: ...

    def classify_text(
        self, text: str | Texts, top_k: int | None = None, *, model: str | None = None
    ) -> ClassifiedText | list[ClassifiedText]:
        """Classifies a text, or several, and returns the most likely classes.

        >>> Client("http://127.0.0.1:3000").classify_text("a good film")["predictions"][0]["label"]
        'positive'

        Args:
            text: Text, or a list of texts, which are sent in one request; the service allows 32 by default.
            top_k: Number of classes to return, from 1 to the number of classes of the model; None returns five, or all classes
                if there are fewer.
            model: Name, alias or tag of the model; None means the default model of the service.

        Returns:
            The JSON answer of the service: "model" is the tag of the model; "predictions" is a list of objects with "label",
            "index" and "probability", the most likely class first. For a list of texts, a list with the answer to each.

        Raises:
            ServiceError: The service does not answer, or refuses the request; `status` is 400 if the text is empty or too long,
                and 422 if the model is no text classifier. One of several texts was refused; `status` is 200 then.
        """
        url, query, content = f"{self.url}/classify-text", _query(top_k, model), _json_texts(text)
        outcome, attempts = self._sent(url, query, content, kind="application/json")
        return parse_texts(url, outcome, attempts=attempts, several=not isinstance(text, str))

    def _ask(self, path: str, image: SentImage, query: dict[str, Any], *, key: str) -> dict[str, Any]:
        url = f"{self.url}/{path}"
        outcome, attempts = self._sent(url, query, image_bytes(image))
        return parse_answer(url, outcome, attempts=attempts, key=key)

    def _sent(
        self, url: str, query: dict[str, Any], content: bytes, *, kind: str | None = None
    ) -> tuple[httpx2.Response | httpx2.HTTPError, int]:
        """Sends a request until its outcome is final, and returns that, and how often the request was sent."""
        for attempts in count(1):
            try:
                outcome: httpx2.Response | httpx2.HTTPError = self._http.post(
                    url, params=query, content=content, headers=_content_type(kind)
                )
            except httpx2.HTTPError as error:
                outcome = error
            wait = self._retries.wait_seconds(attempts, outcome)
            if wait is None:
                break
            time.sleep(wait)
        return outcome, attempts

    def close(self) -> None:
        """Closes the connections to the service; the client cannot be used afterwards."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient:
    """Client of a running service for asynchronous code. Several tasks may call it at the same time.

    Await `close` after use, or use the client as an asynchronous context manager. It repeats requests as `Client` does.

    Args:
        url: Address of the service, such as "http://127.0.0.1:3000".
        token: Secret token to send with each request; None sends none.
        timeout_seconds: Longest wait in seconds for each step of a request: to connect, to send, and for more of the answer.
        retries: Largest number of times that a request is sent again; 0 sends it once.
        longest_wait_seconds: Longest wait in seconds before a request is sent again. Where the service asks for a longer one,
            its refusal is raised at once.

    Raises:
        ServiceError: `url` is no http or https URL with a host; no connection is made.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout_seconds: float = 60.0,
        retries: int = 3,
        longest_wait_seconds: float = 30.0,
    ) -> None:
        self.url = check_url(url)
        self._retries = Retries(retries, longest_wait_seconds)
        self._http = httpx2.AsyncClient(headers=_headers(token), timeout=timeout_seconds)

    async def classify(self, image: SentImage, top_k: int | None = None, *, model: str | None = None) -> ClassifiedImage:
        """Classifies an image and returns its most likely classes; arguments, answer and errors are those of `Client.classify`.

        Files are read, and arrays and images of Pillow encoded, in a thread.
        """
        answer = await self._ask("classify", image, _query(top_k, model), key="predictions")
        return cast("ClassifiedImage", answer)

    async def embed(self, image: SentImage, *, model: str | None = None) -> EmbeddedImage:
        """Returns the features of an image; arguments, answer and errors are those of `Client.embed`."""
        return cast("EmbeddedImage", await self._ask("embed", image, _query(None, model), key="features"))

    @overload
    async def classify_text(self, text: str, top_k: int | None = None, *, model: str | None = None) -> ClassifiedText: ...

    @overload
    async def classify_text(
        self, text: Texts, top_k: int | None = None, *, model: str | None = None
    ) -> list[ClassifiedText]: ...

    async def classify_text(
        self, text: str | Texts, top_k: int | None = None, *, model: str | None = None
    ) -> ClassifiedText | list[ClassifiedText]:
        """Classifies a text, or several; arguments, answer and errors are those of `Client.classify_text`."""
        url, query, content = f"{self.url}/classify-text", _query(top_k, model), _json_texts(text)
        outcome, attempts = await self._sent(url, query, content, kind="application/json")
        return parse_texts(url, outcome, attempts=attempts, several=not isinstance(text, str))

    async def _ask(self, path: str, image: SentImage, query: dict[str, Any], *, key: str) -> dict[str, Any]:
        url = f"{self.url}/{path}"
        content = image if isinstance(image, bytes) else await anyio.to_thread.run_sync(image_bytes, image)
        outcome, attempts = await self._sent(url, query, content)
        return parse_answer(url, outcome, attempts=attempts, key=key)

    async def _sent(
        self, url: str, query: dict[str, Any], content: bytes, *, kind: str | None = None
    ) -> tuple[httpx2.Response | httpx2.HTTPError, int]:
        """Sends a request until its outcome is final, and returns that, and how often the request was sent."""
        for attempts in count(1):
            try:
                outcome: httpx2.Response | httpx2.HTTPError = await self._http.post(
                    url, params=query, content=content, headers=_content_type(kind)
                )
            except httpx2.HTTPError as error:
                outcome = error
            wait = self._retries.wait_seconds(attempts, outcome)
            if wait is None:
                break
            await anyio.sleep(wait)
        return outcome, attempts

    async def close(self) -> None:
        """Closes the connections to the service; the client cannot be used afterwards."""
        await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _query(top_k: int | None, model: str | None) -> dict[str, Any]:
    given = {"top_k": top_k, "model": model}
    return {name: value for name, value in given.items() if value is not None}


def _content_type(kind: str | None) -> dict[str, str]:
    return {} if kind is None else {"Content-Type": kind}


def _json_texts(text: str | Texts) -> bytes:
    """Returns the JSON body for a text, or for several."""
    return json.dumps({"text": text} if isinstance(text, str) else {"texts": list(text)}).encode()
