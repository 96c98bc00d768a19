"""Classifiers of texts for `hubserve.accuracy.evaluate`: a service that is called over HTTP."""

from collections.abc import Sequence

from hubserve.accuracy import Logits, log_probabilities
from hubserve.client import Client
from hubserve.errors import DatasetError, ServiceError


class HttpTextClassifier:
    """Classifier that sends texts to a running service, all texts of a call in one request.

    The logarithms of the probabilities times the temperature stand for the logits, as in `hubserve.accuracy.HttpClassifier`.

    Calling it raises DatasetError if the service does not answer, refuses a request, or if its model has other classes.

    Args:
        url: Address of the service, without the path /classify-text.
        labels: Names of the model's classes, in the order of their indices; the probabilities of all of them are asked for.
        model: Name, alias or tag of the model; None asks for the service's default model.
        temperature: Temperature of the model, which is in the probabilities already; None is 1.
        token: Secret token that the service wants for reading; None sends none.
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

    def __call__(self, texts: Sequence[str]) -> list[Logits | None]:
        try:
            answers = self._client.classify_text(list(texts), len(self._labels), model=self._model)
        except ServiceError as error:
            raise DatasetError(str(error)) from error
        where = f"{self._client.url} has another model {self._model or ''} than this machine, with other classes"
        return [self._temperature * log_probabilities(answer["predictions"], self._labels, where) for answer in answers]
