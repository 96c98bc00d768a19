"""`images_of`: finds the images in the body of a request with images, which is an image, a multipart form or JSON."""

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
from hubserve.service import json_bounds
from hubserve.service.unknown_parameters import check_names
from hubserve.validation_sentence import first_mistake

FIELD, FIELDS = "image", "images"
"""Names of the form field and JSON key for one image, and of the JSON key for several images."""

LARGE = 200_000
"""Size in bytes from which JSON is parsed in a thread, because parsing takes longer than about a millisecond."""

WHITESPACE = b" \t\r\n\f\v"
"""Bytes that are ignored in base64."""


def _decode(value: object) -> bytes:
    """Returns the bytes of an image in base64. Raises ValueError if `value` is not a string or not base64."""
    if not isinstance(value, str):
        raise ValueError("an image in JSON is text in base64")
    try:
        # Strictly: otherwise b64decode skips characters that are not base64 and returns the rest.
        return base64.b64decode(value.encode().translate(None, WHITESPACE), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"not base64: {error}") from error


Base64Image = Annotated[
    bytes,
    BeforeValidator(_decode),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}),
]
"""The bytes of an image; in JSON a string in base64."""


class JsonImages(BaseModel):
    """The JSON body of a request to /classify. Exactly one of the keys is given.

    Attributes:
        image: A single image in base64; the answer is an object for that image.
        images: Several images in base64; the answer is a list, even if there is only one.
    """

    model_config = ConfigDict(extra="forbid")

    image: Base64Image | None = None
    images: list[Base64Image] | None = None


@dataclass(frozen=True)
class RequestImages:
    """The images of a request.

    Attributes:
        data: Bytes of each image file.
        several: True if the answer is a list, False if it is that of a single image.
    """

    data: tuple[bytes, ...]
    several: bool


async def images_of(request: Request, body: bytes, *, max_images: int) -> RequestImages:
    """Returns the images in the body of a request.

    Args:
        request: The request, whose header Content-Type says what the body is. A body that is neither a multipart form nor JSON
            is an image.
        body: The whole body, which was read before.
        max_images: Largest number of images.

    Raises:
        RequestBodyError: The body cannot be read, has no image or an empty one, or more than `max_images`.
        RequestValidationError: The form has a field other than `image`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        found = await _of_form(request, body)
    elif kind == "application/json":
        # Large ones in a thread: parsing takes as long as classifying some images, and would block the event loop.
        found = await to_thread.run_sync(_of_json, body) if len(body) > LARGE else _of_json(body)
    else:
        found = RequestImages((body,), several=False)
    if not found.data or not all(found.data):
        raise RequestBodyError(
            f"the request has no image, or an empty one: send it as the body, as the field {FIELD!r} of a form, or as JSON "
            f'{{"{FIELD}": base64}} or {{"{FIELDS}": [base64, ...]}}'
        )
    if len(found.data) > max_images:
        raise RequestBodyError(f"the request has {len(found.data)} images; at most {max_images} are taken at once")
    return found


def _of_json(body: bytes) -> RequestImages:
    """Returns the images in a JSON body. Raises RequestBodyError if it cannot be read."""
    if problem := json_bounds.too_many(body):
        raise RequestBodyError(problem)
    try:
        given = JsonImages.model_validate_json(body)
    except ValidationError as error:
        raise RequestBodyError(f"the JSON cannot be read: {first_mistake(error, whole='the body')}") from error
    if given.image is not None and given.images is not None:
        raise RequestBodyError(f"the JSON has both {FIELD!r} and {FIELDS!r}; give one of them")
    if given.images is not None:
        return RequestImages(tuple(given.images), several=True)
    return RequestImages(() if given.image is None else (given.image,), several=False)


async def _of_form(request: Request, body: bytes) -> RequestImages:
    """Returns the images in a multipart form. Raises as `images_of` does."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(request.headers, stream(), max_part_size=len(body) + 1)
    try:
        form = await parser.parse()
        files = [field for field in form.getlist(FIELD) if isinstance(field, UploadFile)]
        if not files:
            raise RequestBodyError(f"the form has no file in the field {FIELD!r}; its fields: {_few(form)}")
        check_names(form.keys(), (FIELD,), place="form")
        return RequestImages(tuple([await file.read() for file in files]), several=len(files) > 1)
    except RequestBodyError:
        raise
    except (MultiPartException, KeyError, ValueError) as error:
        raise RequestBodyError(f"the multipart body cannot be read: {error}") from error
    finally:
        # Not the files of the form alone: a form that breaks off leaves one that is in no field yet.
        for opened in parser._files_to_close_on_error:
            opened.close()


def _few(form: FormData) -> str:
    """Returns the names of the first five fields of a form, shortened, because a request may have thousands."""
    return ", ".join(name[:40] for name in list(form)[:5]) or "none"
