"""The picture in a request: the body itself, or a field of a form, never more than is allowed."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from hubserve.errors import FormError, ImageTooLargeError

FIELD = "image"


async def read_picture(request: Request, max_bytes: int) -> bytes:
    """The bytes of the picture.

    Raises:
        ImageTooLargeError: the body is longer than `max_bytes`; the rest is not read.
        FormError: the body is empty, or multipart without a file in the field "image".
    """
    body = await _read(request, max_bytes)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        body = await _file_of(request, body)
    if not body:
        raise FormError("the request has no picture: send one as the body, or as the field 'image' of a form")
    return body


async def _read(request: Request, max_bytes: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise ImageTooLargeError(_too_long(max_bytes))
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            raise ImageTooLargeError(_too_long(max_bytes))
        chunks.append(chunk)
    return b"".join(chunks)


def _too_long(max_bytes: int) -> str:
    return f"the body is longer than the allowed {max_bytes:,} bytes: send a smaller picture"


async def _file_of(request: Request, body: bytes) -> bytes:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    try:
        form = await MultiPartParser(request.headers, stream(), max_part_size=len(body) + 1).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise FormError(f"the multipart body cannot be read: {error}") from error
    field = form.get(FIELD)
    if not isinstance(field, UploadFile):
        raise FormError(f"the form has no file in the field {FIELD!r}; its fields: {', '.join(form) or 'none'}")
    content = await field.read()
    await form.close()
    return content
