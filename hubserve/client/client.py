"""The client of a running service: one method for each kind of request."""

from __future__ import annotations

from typing import Any

import httpx2

from hubserve.errors import ServiceError


class Client:
    """A running service at some address. Calls from several threads run side by side; close it, or use it in `with`.

    Args:
        url: Address of the service, such as "http://127.0.0.1:3000".
        token: Secret that the service asks for; None where it asks for none.
        timeout_seconds: Time that one request may take.
    """

    def __init__(self, url: str, token: str | None = None, *, timeout_seconds: float = 60.0) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx2.Client(headers=headers, timeout=timeout_seconds)

    def classify(self, image: bytes, top_k: int | None = None, *, model: str | None = None) -> dict[str, Any]:
        """The most likely classes of an image.

        Args:
            image: Bytes of an image file.
            top_k: Number of classes, from 1 to those of the model; None takes five, or all where there are fewer.
            model: Name, alias or tag of the model; None takes the service's default model.

        Returns:
            The answer as the service gives it: "model" is the tag; "predictions" is a list, most likely class first, of
            objects with "label", "index" and "probability".

        Raises:
            ServiceError: The service does not answer, or refuses the request; `status` is 413 or 415 where the bytes are too
                large or not a readable image.
        """
        given = {"top_k": top_k, "model": model}
        return self._post("/classify", {name: value for name, value in given.items() if value is not None}, image)

    def close(self) -> None:
        """Closes the connections."""
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
