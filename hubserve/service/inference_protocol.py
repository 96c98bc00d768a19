"""Messages of the Open Inference Protocol: `read_request` decodes a request with its images, `write_answer` encodes an answer.

A message is JSON. Tensors are in it, or, as Triton extends the protocol, follow it as bytes. See
https://github.com/kserve/open-inference-protocol, and the extensions "binary tensor data" and "classification" in
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from hubserve.errors import TensorError
from hubserve.service import json_bounds
from hubserve.validation_sentence import first_mistake

HEADER = "inference-header-content-length"
"""Header with the number of bytes of a message that are JSON; the bytes of tensors follow them."""

IMAGES, PICTURES = "images", "pictures"
"""Names of the inputs.

"images" are prepared images, FP32 (n, 3, size, size). "pictures" are image files, BYTES (n,), in base64 if they are in JSON.
"""

LOGITS, PROBABILITIES, FEATURES = "logits", "probabilities", "features"
"""Names of the outputs: logits and probabilities are FP32 (n, classes), features FP32 (n, width) if the model has them."""

OUTPUTS = (LOGITS, PROBABILITIES, FEATURES)
"""Names of all outputs."""


class _Record(BaseModel):
    """Base class of the records of a message. Unknown keys are ignored, which the protocol demands."""

    # The protocol allows keys that the other side does not know.
    model_config = ConfigDict(extra="ignore")


class RequestInput(_Record):
    """A tensor of a request.

    Attributes:
        name: `IMAGES` or `PICTURES`.
        shape: Length of each of at most 8 axes; each is at least 1.
        datatype: "FP32" for `IMAGES`, "BYTES" for `PICTURES`.
        parameters: "binary_data_size" is the number of bytes of the tensor after the JSON; other keys are ignored.
        data: Elements, flat or nested; None if they follow the JSON as bytes.
    """

    name: str
    shape: Annotated[list[int], Field(max_length=8)]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestOutput(_Record):
    """A tensor that the answer should contain.

    Attributes:
        name: `LOGITS`, `PROBABILITIES` or `FEATURES`.
        parameters: If "binary_data" is true, the tensor follows the JSON as bytes. "classification" is a number of classes:
            that many most likely classes are sent instead of logits or probabilities, as strings "value:index:label".
    """

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(_Record):
    """The JSON of a request.

    Attributes:
        id: Text of at most 1,000 characters that is copied into the answer; None if there is none.
        parameters: If "binary_data_output" is true, all outputs follow the JSON as bytes.
        inputs: Exactly one tensor.
        outputs: Tensors that the answer should contain, each at most once; an empty list means `LOGITS`.
    """

    id: Annotated[str, Field(max_length=1000)] | None = None
    parameters: dict[str, Any] = {}
    inputs: list[RequestInput]
    outputs: list[RequestOutput] = []


@dataclass(frozen=True)
class DecodedRequest:
    """A request with its images.

    Attributes:
        request: The JSON of the request.
        images: For each image the bytes of its file, or a prepared array (3, size, size) float32.
    """

    request: InferRequest
    images: Sequence[bytes | NDArray[np.float32]]

    @property
    def wants_features(self) -> bool:
        """True if the answer should contain `FEATURES`."""
        return any(output.name == FEATURES for output in self.request.outputs)


def read_request(body: bytes, header: str | None, *, max_images: int) -> DecodedRequest:
    """Decodes a request with its images.

    Args:
        body: The whole body of the request.
        header: Value of the header `HEADER`; None if the whole body is JSON.
        max_images: Largest number of images.

    Raises:
        TensorError: The request does not follow the protocol, asks for something that this service does not have, or has too
            many images.
    """
    length = len(body) if header is None else _length(header, len(body))
    text = body[:length]
    if problem := json_bounds.too_many(text):
        raise TensorError(problem)
    try:
        # Five times as fast as the standard library: a parser in C stops all other threads until it is done.
        request = InferRequest.model_validate(from_json(text))
    except ValidationError as error:
        raise TensorError(first_mistake(error, whole="the body")) from error
    except ValueError as error:
        raise TensorError(f"the JSON cannot be read: {error}") from error
    if len(request.inputs) != 1:
        raise TensorError(f"{len(request.inputs)} inputs; give one: {IMAGES!r} (FP32) or {PICTURES!r} (BYTES)")
    (tensor,) = request.inputs
    _check_kind(tensor)
    _check_outputs(request.outputs)
    count = prod(tensor.shape) if tensor.name == PICTURES else tensor.shape[0]
    if count > max_images:
        raise TensorError(f"{count} images; at most {max_images} are taken at once")
    binary = _binary(tensor, body[length:])
    return DecodedRequest(request, _files(tensor, binary) if tensor.name == PICTURES else _prepared(tensor, binary))


def _length(header: str, most: int) -> int:
    """Returns the number of bytes that are JSON. Raises TensorError if it is not a number of at most `most`."""
    if not header.isdecimal() or len(header) > 12 or int(header) > most:
        raise TensorError(f"{HEADER}: {header[:40]!r} is not a length within the body's {most} bytes")
    return int(header)


def _check_kind(tensor: RequestInput) -> None:
    """Checks the name, data type and shape of an input. Raises TensorError."""
    kinds = {IMAGES: "FP32", PICTURES: "BYTES"}
    if kinds.get(tensor.name) != tensor.datatype:
        raise TensorError(
            f"input {tensor.name[:60]!r} of {tensor.datatype[:20]}; give {IMAGES!r} of FP32 (n, 3, height, width) or "
            f"{PICTURES!r} of BYTES (n,)"
        )
    if not tensor.shape or any(not 0 < side < 2**31 for side in tensor.shape):
        raise TensorError(f"shape {tensor.shape}: sides are at least 1")


def _check_outputs(outputs: Sequence[RequestOutput]) -> None:
    """Checks the requested outputs. Raises TensorError for an unknown or repeated name, or if features should be classified."""
    names = [output.name[:60] for output in outputs]
    for name in names[:3]:
        if name not in OUTPUTS:
            raise TensorError(f"output {name!r}: there are {LOGITS!r}, {PROBABILITIES!r} and {FEATURES!r}")
    if len(set(names)) < len(names):
        raise TensorError(f"{len(names)} outputs: {LOGITS!r}, {PROBABILITIES!r} and {FEATURES!r} may each be asked for once")
    for output in outputs:
        if output.name == FEATURES and "classification" in output.parameters:
            raise TensorError(f"classification: {FEATURES!r} are no classes; ask for it with {LOGITS!r} or {PROBABILITIES!r}")


def _binary(tensor: RequestInput, rest: bytes) -> bytes | None:
    """Returns the bytes of an input that follow the JSON; None if its elements are in the JSON. Raises TensorError."""
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if rest:
            raise TensorError(f"{len(rest)} bytes follow the JSON and no input says binary_data_size")
        return None
    if size != len(rest) or tensor.data is not None:
        raise TensorError(f"binary_data_size = {size}: {len(rest)} bytes follow the JSON; 'data' must be left out then")
    return rest


def _prepared(tensor: RequestInput, binary: bytes | None) -> list[NDArray[np.float32]]:
    """Returns the prepared images of an input, (3, height, width) each. Raises TensorError."""
    if len(tensor.shape) != 4:
        raise TensorError(f"shape {tensor.shape}: {IMAGES!r} has four sides: images, 3, height, width")
    try:
        values = np.frombuffer(binary, "<f4") if binary is not None else np.array(tensor.data or [], np.float32).ravel()
    except (ValueError, TypeError, OverflowError) as error:
        raise TensorError(f"the elements of {IMAGES!r} are no numbers: {error}") from error
    if values.size != prod(tensor.shape):
        raise TensorError(f"shape {tensor.shape} has {prod(tensor.shape)} elements, and {values.size} came")
    if not np.isfinite(values).all():
        raise TensorError(f"{IMAGES!r} holds elements that are not finite")
    return list(values.reshape(tensor.shape).astype(np.float32, copy=False))


def _files(tensor: RequestInput, binary: bytes | None) -> list[bytes]:
    """Returns the image files of an input. Raises TensorError."""
    found = _split(binary) if binary is not None else [_decoded(item) for item in _flat(tensor.data or [])]
    if len(found) != prod(tensor.shape):
        raise TensorError(f"shape {tensor.shape} has {prod(tensor.shape)} elements, and {len(found)} came")
    return found


def _split(binary: bytes) -> list[bytes]:
    """Returns the elements of a BYTES tensor. Each has its length before it, as four bytes in little-endian order."""
    found: list[bytes] = []
    place = 0
    while place < len(binary):
        length = int.from_bytes(binary[place : place + 4], "little")
        if place + 4 + length > len(binary):
            raise TensorError(f"the bytes of {PICTURES!r} end within element {len(found)}")
        found.append(binary[place + 4 : place + 4 + length])
        place += 4 + length
    return found


def _flat(items: Sequence[Any]) -> list[Any]:
    """Returns the items of a list in which items may be lists themselves, as one flat list."""
    return [item for row in items for item in (row if isinstance(row, list) else [row])]


def _decoded(item: object) -> bytes:
    """Returns the bytes of an item in base64. Raises TensorError."""
    if not isinstance(item, str):
        raise TensorError(f"an element of {PICTURES!r} is a {type(item).__name__}; in JSON they are base64")
    try:
        return base64.b64decode(item.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise TensorError(f"an element of {PICTURES!r} is not base64: {error}") from error
