"""The pictures in a request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Annotated

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from hubserve.errors import RequestBodyError

FIELD, FIELDS = "image", "images"
"""Name of the form's fields, and in JSON of one picture and of several."""

LARGE = 200_000
"""Bytes of JSON that take about a millisecond."""


def _decode(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("a picture in JSON is text in base64")
    try:
        # Strictly: b64decode would otherwise leave out what is no base64 and return the rest.
        return base64.b64decode("".join(value.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


Base64Image = Annotated[
    bytes,
    BeforeValidator(_decode),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}),
]


class JsonImages(BaseModel):
    """A request in JSON: one picture or several, in base64.

    Attributes:
        image: the only picture; the answer is then that of one picture.
        images: several; the answer is then a list, however long.
    """

    model_config = ConfigDict(extra="forbid")

    image: Base64Image | None = None
    images: list[Base64Image] | None = None


@dataclass(frozen=True)
class RequestImages:
    """The pictures of a request.

    Attributes:
        data: their bytes.
        several: whether the answer is a list.
    """

    data: tuple[bytes, ...]
    several: bool


async def images_of(request: Request, body: bytes, *, max_pictures: int) -> RequestImages:
    """The pictures: the body itself, fields of a form, or base64 in JSON.

    Raises:
        RequestBodyError: the request has no picture, an empty one, or more than `max_pictures`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _of_form(request, body)
    elif kind == "application/json":
        # Large ones in a thread: parsing and decoding take as long as some pictures, and everybody would wait.
        found = await to_thread.run_sync(_of_json, body) if len(body) > LARGE else _of_json(body)
    else:
        found = RequestImages((body,), several=False)
    if not found.data or not all(found.data):
        raise RequestBodyError(
            f"the request has no picture, or an empty one: send it as the body, as the field {FIELD!r} of a form, or as JSON "
            f'{{"{FIELD}": base64}} or {{"{FIELDS}": [base64, ...]}}'
        )
    if len(found.data) > max_pictures:
        raise RequestBodyError(f"the request has {len(found.data)} pictures; at most {max_pictures} are taken at once")
    return found


def _of_json(body: bytes) -> RequestImages:
    try:
        given = JsonImages.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        raise RequestBodyError(f"the JSON cannot be read: {where}: {first['msg']}") from error
    if given.image is not None and given.images is not None:
        raise RequestBodyError(f"the JSON has both {FIELD!r} and {FIELDS!r}; give one of them")
    if given.images is not None:
        return RequestImages(tuple(given.images), several=True)
    return RequestImages(() if given.image is None else (given.image,), several=False)


async def _of_form(request: Request, body: bytes) -> RequestImages:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(request.headers, stream(), max_part_size=len(body) + 1)
    try:
        form = await parser.parse()
        files = [field for field in form.getlist(FIELD) if isinstance(field, UploadFile)]
        if not files:
            raise RequestBodyError(f"the form has no file in the field {FIELD!r}; its fields: {_few(form)}")
        return RequestImages(tuple([await file.read() for file in files]), several=len(files) > 1)
    except RequestBodyError:
        raise
    except (MultiPartException, KeyError, ValueError) as error:
        raise RequestBodyError(f"the multipart body cannot be read: {error}") from error
    finally:
        # Not those of the form alone: a form that breaks off leaves one that is in no field yet.
        for opened in parser._files_to_close_on_error:
            opened.close()


def _few(form: FormData) -> str:
    """The first names, shortened: a stranger may send thousands."""
    return ", ".join(name[:40] for name in list(form)[:5]) or "none"
