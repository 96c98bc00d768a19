"""The client of a running service, which sends images over HTTP and returns their classes."""

from __future__ import annotations

from typing import Any

import httpx2

from hubserve.errors import ServiceError


class Client:
    """Client of a running service. It may be called by several threads at the same time.

    Call `close` after use, or use the client as a context manager.

    Args:
        url: Address of the service, such as "http://127.0.0.1:3000".
        token: Secret token to send with each request; None sends none.
        timeout_seconds: Longest wait in seconds for each step of a request: to connect, to send, and for more of the answer.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_seconds: float = 60.0) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(headers=headers, timeout=timeout_seconds)

    def classify(self, image: bytes, top_k: int | None = None, *, model: str | None = None) -> dict[str, Any]:
        """Classifies an image and returns its most likely classes.

        Args:
            image: Content of an image file.
            top_k: Number of classes to return, from 1 to the number of classes of the model; None returns five, or all classes
                if there are fewer.
            model: Name, alias or tag of the model; None means the default model of the service.

        Returns:
            The JSON answer of the service: "model" is the tag of the model; "predictions" is a list of objects with "label",
            "index" and "probability", the most likely class first.

        Raises:
            ServiceError: The service does not answer, or refuses the request; `status` is 413 if the image is too large, and
                415 if it is not readable.
        """
        given = {"top_k": top_k, "model": model}
        return self._post("/classify", {name: value for name, value in given.items() if value is not None}, image)

    def close(self) -> None:
        """Closes the connections to the service; the client cannot be used afterwards."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, path: str, parameters: dict[str, Any], content: bytes) -> dict[str, Any]:
        url = self.url + path
        try:
            answer = self._http.post(url, params=parameters, content=content)
        except httpx2.HTTPError as error:
            raise ServiceError(f"{url} does not answer: {type(error).__name__}: {error}") from error
        if answer.status_code != 200:
            raise ServiceError(f"{url} answers {answer.status_code}: {answer.text[:300]}", answer.status_code)
        found: dict[str, Any] = answer.json()
        return found
