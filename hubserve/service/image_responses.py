"""`images_response`: the response to a request with images, which has one result, or a list of results and errors."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi.responses import JSONResponse, Response

from hubserve.errors import HubserveError
from hubserve.service.engine import Answer
from hubserve.service.error_responses import error_body

Outcome = tuple[str, Answer] | BaseException
"""The result for one image: the tag of the model and its answer, or the error."""

Result = Callable[[str, Answer], dict[str, Any]]
"""Function (tag of the model, answer) that returns the JSON of a result."""


def images_response(outcomes: Sequence[Outcome], several: bool, result: Result) -> Response:
    """Returns the response to a request with images.

    Args:
        outcomes: Outcome of each image; exactly one if `several` is False.
        several: If True, the response is a list with a result or an error for each image. If False, it is a single result.
        result: Function that returns the JSON of a result.

    Raises:
        BaseException: The error of the image if `several` is False, else the first error that is not a HubserveError.
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
    """Returns the JSON of a result or of a HubserveError; raises other errors."""
    if isinstance(outcome, HubserveError):
        return error_body(outcome)
    if isinstance(outcome, BaseException):
        raise outcome
    return result(*outcome)
