"""`images_response`: the response to a request with images or texts, which has one result, or a list of results and errors."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi.responses import Response
from pydantic_core import to_json

from hubserve.errors import BodyTooLargeError, HubserveError
from hubserve.service.engine import Answer
from hubserve.service.error_responses import error_body

Outcome = tuple[str, Answer] | BaseException
"""The result for one image: the tag of the model and its answer, or the error."""

Result = Callable[[str, Answer], dict[str, Any]]
"""Function (tag of the model, answer) that returns a result, which pydantic can encode as JSON."""


def images_response(outcomes: Sequence[Outcome], several: bool, result: Result, *, max_bytes: int | None = None) -> Response:
    """Returns the response to a request with images.

    Args:
        outcomes: Outcome of each image; exactly one if `several` is False.
        several: If True, the response is a list with a result or an error for each image. If False, it is a single result.
        result: Function that returns the result of an image.
        max_bytes: Largest size of the results in bytes; None if something else bounds them.

    Raises:
        BodyTooLargeError: The results would be longer than `max_bytes`.
        BaseException: The error of the image if `several` is False, else the first error that is not a HubserveError.
    """
    if not several:
        (outcome,) = outcomes
        if isinstance(outcome, BaseException):
            raise outcome
        body = to_json(result(*outcome))
        _check_size(len(body), max_bytes)
        return Response(body, media_type="application/json")
    results, size = [], 0
    for outcome in outcomes:
        # Each result for itself: the encoder stops all other threads until it is done.
        results.append(to_json(_result_or_error(outcome, result)))
        size += len(results[-1])
        _check_size(size, max_bytes)
    return Response(b'{"results":[%s]}' % b",".join(results), media_type="application/json")


def _check_size(size: int, max_bytes: int | None) -> None:
    """Raises BodyTooLargeError if results of `size` bytes are longer than `max_bytes`."""
    if max_bytes is not None and size > max_bytes:
        raise BodyTooLargeError(f"the answer would be longer than the allowed {max_bytes:,} bytes: send fewer images")


def _result_or_error(outcome: Outcome, result: Result) -> dict[str, Any]:
    """Returns what the answer has for an image: its result, or a HubserveError; raises other errors."""
    if isinstance(outcome, HubserveError):
        return error_body(outcome)
    if isinstance(outcome, BaseException):
        raise outcome
    return result(*outcome)
