"""Answers to requests with images: one result, or a list with a result or an error for each of several images."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi.responses import JSONResponse, Response

from hubserve.errors import HubserveError
from hubserve.service.engine import Answer
from hubserve.service.error_responses import error_body

Outcome = tuple[str, Answer] | BaseException
"""Outcome of one image: the tag of the model with its answer, or the error."""

Result = Callable[[str, Answer], dict[str, Any]]
"""Function from the tag of a model and its answer to the JSON of the result."""


def images_response(outcomes: Sequence[Outcome], several: bool, result: Result) -> Response:
    """Returns the response to a request with images.

    Args:
        outcomes: Outcome of each image.
        several: Whether the answer is a list. It has the errors of single images, then; otherwise the error is raised.
        result: Makes the JSON of one result.
    """
    if not several:
        (outcome,) = outcomes
        if isinstance(outcome, BaseException):
            raise outcome
        return JSONResponse(result(*outcome))
    # Each result for itself: the encoder stops all other threads until it is done.
    results = [JSONResponse(_result_or_error(outcome, result)).body for outcome in outcomes]
    return Response(b'{"results":[%s]}' % b",".join(results), media_type="application/json")


def _result_or_error(outcome: Outcome, result: Result) -> dict[str, Any]:
    if isinstance(outcome, HubserveError):
        return error_body(outcome)
    if isinstance(outcome, BaseException):
        raise outcome
    return result(*outcome)
