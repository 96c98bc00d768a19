"""`texts_of`: finds the texts in the body of a request with texts, which is plain text or JSON."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from hubserve.errors import RequestBodyError
from hubserve.service import json_bounds
from hubserve.service.request_images import LARGE, PARAMETERS
from hubserve.service.unknown_parameters import check_names, check_not_twice
from hubserve.validation_sentence import first_mistake

PLAIN, JSON = "text/plain", "application/json"
"""Content types of a body with a text."""

HOW = f'send it as {PLAIN} in UTF-8, or as {JSON}: {{"text": "..."}} or {{"texts": ["...", ...]}}'
"""How a text is sent, for error messages."""


class JsonTexts(BaseModel):
    """The JSON body of a request to /classify-text. `texts_of` checks that it has `text` or `texts`, not both.

    Attributes:
        text: A single text; the answer is an object for that text.
        texts: Several texts; the answer is a list, even if there is only one.
        model: The parameter `model`, in place of the one in the query.
        top_k: The parameter `top_k`, in place of the one in the query.
    """

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    texts: list[str] | None = None
    model: str | None = None
    top_k: int | None = None


@dataclass(frozen=True)
class RequestTexts:
    """The texts of a request.

    Attributes:
        data: The texts.
        several: True if the answer is a list, as for `texts` in JSON; False if it is that of a single text.
        parameters: Parameters of the request that are in its JSON, by name; unchecked, and without those that are null.
    """

    data: tuple[str, ...]
    several: bool
    parameters: Mapping[str, object] = field(default_factory=dict)


async def texts_of(request: Request, body: bytes, *, max_texts: int, parameters: Collection[str]) -> RequestTexts:
    """Returns the texts in the body of a request. Whether a text is empty is not checked here.

    Args:
        request: The request. Its header Content-Type says whether the body is plain text or JSON; without it, it is plain text.
        body: The whole body, which was read before.
        max_texts: Largest number of texts.
        parameters: Names of the parameters of the route, which JSON may have, too.

    Raises:
        RequestBodyError: The body is of another type, is no UTF-8 or no valid JSON, has no text, or more than `max_texts`; or
            JSON has an unknown key, a value of the wrong type, or both `text` and `texts`.
        RequestValidationError: A parameter is not in `parameters`, or is in the query, too.
    """
    kind = request.headers.get("content-type", PLAIN).partition(";")[0].strip().lower()
    if kind == JSON:
        # Large ones in a thread: parsing would block the event loop.
        found = await to_thread.run_sync(_of_json, body) if len(body) > LARGE else _of_json(body)
    elif kind == PLAIN:
        found = RequestTexts((_decoded(body),), several=False)
    else:
        raise RequestBodyError(f"Content-Type is {kind[:60]!r}, which is no text: {HOW}")
    if not found.data:
        raise RequestBodyError(f"the request has no text: {HOW}")
    if found.parameters:
        check_names(found.parameters, parameters, place="body")
        check_not_twice(found.parameters, request.query_params)
    if len(found.data) > max_texts:
        raise RequestBodyError(f"the request has {len(found.data)} texts; at most {max_texts} are taken at once")
    return found


def _of_json(body: bytes) -> RequestTexts:
    """Returns the texts in a JSON body, maybe none. Raises RequestBodyError if it cannot be read, or has both keys."""
    if problem := json_bounds.too_many(body):
        raise RequestBodyError(problem)
    try:
        given = JsonTexts.model_validate_json(body)
    except ValidationError as error:
        raise RequestBodyError(f"the JSON cannot be read: {first_mistake(error, whole='the body')}; {HOW}") from error
    if given.text is not None and given.texts is not None:
        raise RequestBodyError("the JSON has both 'text' and 'texts'; give one of them")
    parameters = {name: value for name in PARAMETERS if (value := getattr(given, name)) is not None}
    if given.texts is not None:
        return RequestTexts(tuple(given.texts), True, parameters)
    return RequestTexts(() if given.text is None else (given.text,), False, parameters)


def _decoded(body: bytes) -> str:
    """Returns the text of a body of plain text. Raises RequestBodyError if it is no UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise RequestBodyError(f"the text is no UTF-8: {error.reason} at byte {error.start}; {HOW}") from error
