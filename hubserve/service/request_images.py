"""`images_of`: finds the images in the body of a request with images, which is an image, a multipart form or JSON."""

import json
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from anyio import to_thread
from fastapi import Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from hubserve.errors import RequestBodyError
from hubserve.service import json_bounds
from hubserve.service.base64_image import image_of_text
from hubserve.service.unknown_parameters import check_names, check_not_twice
from hubserve.validation_sentence import first_mistake

FIELD, FIELDS = "image", "images"
"""Names of the form field and JSON key for one image, and of the JSON key for several images."""

PARAMETERS = ("model", "top_k")
"""Names of the parameters that a form or JSON may have; a route accepts those that it has in its query."""

LARGE = 200_000
"""Size in bytes from which JSON is parsed in a thread, because parsing takes longer than about a millisecond."""

Base64Image = Annotated[
    bytes,
    BeforeValidator(image_of_text),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}),
]
"""The bytes of an image; in JSON a string in base64, or a data URI."""


class JsonImages(BaseModel):
    """The JSON body of a request to /classify or /embed. `images_of` checks that it has `image` or `images`, not both.

    Attributes:
        image: A single image in base64 or a data URI; the answer is an object for that image.
        images: Several images in base64 or data URIs; the answer is a list, even if there is only one.
        model: The parameter `model`, in place of the one in the query.
        top_k: The parameter `top_k` of /classify, in place of the one in the query.
    """

    model_config = ConfigDict(extra="forbid")

    image: Base64Image | None = None
    images: list[Base64Image] | None = None
    model: str | None = None
    top_k: int | None = None


@dataclass(frozen=True)
class RequestImages:
    """The images of a request.

    Attributes:
        data: Bytes of each image file.
        several: True if the answer is a list, as for `images` in JSON and for a form with more than one image; False if it is
            that of a single image.
        parameters: Parameters of the request that are in its form or JSON, by name; unchecked, and without those that are null.
    """

    data: tuple[bytes, ...]
    several: bool
    parameters: Mapping[str, object] = field(default_factory=dict)


async def images_of(request: Request, body: bytes, *, max_images: int, parameters: Collection[str]) -> RequestImages:
    """Returns the images in the body of a request.

    Args:
        request: The request, whose header Content-Type says what the body is. A body that is neither a multipart form nor JSON
            is an image.
        body: The whole body, which was read before.
        max_images: Largest number of images.
        parameters: Names of the parameters of the route, which a form or JSON may have, too.

    Raises:
        RequestBodyError: The body cannot be read, has no image or an empty one, or more than `max_images`; or JSON has an
            unknown key, a value of the wrong type, or both `image` and `images`.
        RequestValidationError: The form has an unknown field, or a parameter is not in `parameters`, or is in the query, too.
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
    if found.parameters:
        check_names(found.parameters, parameters, place="body")
        check_not_twice(found.parameters, request.query_params)
    if len(found.data) > max_images:
        raise RequestBodyError(f"the request has {len(found.data)} images; at most {max_images} are taken at once")
    return found


def _of_json(body: bytes) -> RequestImages:
    """Returns the images in a JSON body, maybe none. Raises RequestBodyError if it cannot be read, or has both keys."""
    if problem := json_bounds.too_many(body):
        raise RequestBodyError(problem)
    try:
        given = JsonImages.model_validate_json(body)
    except ValidationError as error:
        raise RequestBodyError(f"the JSON cannot be read: {first_mistake(error, whole='the body')}") from error
    if given.image is not None and given.images is not None:
        raise RequestBodyError(f"the JSON has both {FIELD!r} and {FIELDS!r}; give one of them")
    parameters = {name: value for name in PARAMETERS if (value := getattr(given, name)) is not None}
    if given.images is not None:
        return RequestImages(tuple(given.images), True, parameters)
    return RequestImages(() if given.image is None else (given.image,), False, parameters)


async def _of_form(request: Request, body: bytes) -> RequestImages:
    """Returns the images in a multipart form. Raises as `images_of` does."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(request.headers, stream(), max_part_size=len(body) + 1)
    try:
        form = await parser.parse()
        files = [file for file in form.getlist(FIELD) if isinstance(file, UploadFile)]
        if not files:
            raise RequestBodyError(f"the form has no file in the field {FIELD!r}; its fields: {_few(form)}")
        check_names(form.keys(), (FIELD, *PARAMETERS), place="form")
        texts = {name: _value(form[name]) for name in PARAMETERS if name in form}
        parameters = {name: value for name, value in texts.items() if value is not None}
        return RequestImages(tuple([await file.read() for file in files]), len(files) > 1, parameters)
    except RequestBodyError:
        raise
    except (MultiPartException, KeyError, ValueError) as error:
        raise RequestBodyError(f"the multipart body cannot be read: {error}") from error
    finally:
        # Not the files of the form alone: a form that breaks off leaves one that is in no field yet.
        for opened in parser._files_to_close_on_error:
            opened.close()


def _value(text: str | UploadFile) -> str | None:
    """Returns the value of a form field; None if it is "null". BentoML's client sends texts as JSON, in quotes.

    Raises:
        ValueError: The field is a file, or a text in quotes that is not JSON.
    """
    if isinstance(text, UploadFile):
        raise ValueError("a parameter is a file")
    if text == "null":
        return None
    return str(json.loads(text)) if text.startswith('"') else text


def _few(form: FormData) -> str:
    """Returns the names of the first five fields of a form, shortened, because a request may have thousands."""
    return ", ".join(name[:40] for name in list(form)[:5]) or "none"
