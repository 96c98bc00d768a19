"""The Open Inference Protocol's messages: JSON, with tensors in it or, as Triton extends it, as bytes behind it.

https://github.com/kserve/open-inference-protocol, and the extensions "binary tensor data" and "classification" of
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""

import base64
import binascii
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from hubserve.errors import BodyTooLargeError, TensorError
from hubserve.package.predictions import softmax
from hubserve.service import json_bounds
from hubserve.validation_sentence import first_mistake

HEADER = "inference-header-content-length"
"""Header with the number of bytes of a message that are JSON; the tensors follow them."""

IMAGES, PICTURES = "images", "pictures"
"""Names of the inputs: prepared images, FP32 (n, 3, size, size), and image files, BYTES (n,), in JSON as base64."""

LOGITS, PROBABILITIES, FEATURES = "logits", "probabilities", "features"
"""Names of the outputs: LOGITS and PROBABILITIES, FP32 (n, classes), and FEATURES, FP32 (n, width), where a model has them."""

OUTPUTS = (LOGITS, PROBABILITIES, FEATURES)


class _Record(BaseModel):
    # The protocol allows keys that the other side does not know.
    model_config = ConfigDict(extra="ignore")


class RequestInput(_Record):
    """A tensor of a request.

    Attributes:
        name: IMAGES or PICTURES.
        shape: Length of each axis, at least 1; at most 8 axes.
        datatype: "FP32" for IMAGES, "BYTES" for PICTURES.
        parameters: "binary_data_size" is the number of its bytes after the JSON; other keys are ignored.
        data: Elements, flat or nested; None where they follow the JSON as bytes.
    """

    name: str
    shape: Annotated[list[int], Field(max_length=8)]
    datatype: str
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class RequestOutput(_Record):
    """A tensor that the answer shall have.

    Attributes:
        name: LOGITS, PROBABILITIES or FEATURES.
        parameters: "binary_data" says whether it follows the JSON as bytes; "classification" is the number of most likely
            classes that are sent in place of LOGITS or PROBABILITIES, as texts "value:index:label".
    """

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(_Record):
    """The JSON of a request.

    Attributes:
        id: Copied into the answer, at most 1,000 characters; None for none.
        parameters: "binary_data_output" says whether all outputs follow the JSON as bytes.
        inputs: Exactly one tensor.
        outputs: Tensors that the answer shall have, each once; an empty list means LOGITS.
    """

    id: Annotated[str, Field(max_length=1000)] | None = None
    parameters: dict[str, Any] = {}
    inputs: list[RequestInput]
    outputs: list[RequestOutput] = []


@dataclass(frozen=True)
class DecodedRequest:
    """A request with its images.

    Attributes:
        request: Its JSON.
        images: For each image the bytes of a file, or a prepared array (3, size, size) float32.
    """

    request: InferRequest
    images: Sequence[bytes | NDArray[np.float32]]

    @property
    def wants_features(self) -> bool:
        """Whether the answer shall have FEATURES."""
        return any(output.name == FEATURES for output in self.request.outputs)


def read_request(body: bytes, header: str | None, *, max_images: int) -> DecodedRequest:
    """Decodes a request with its images.

    Args:
        body: The whole body.
        header: Value of HEADER; None where the whole body is JSON.
        max_images: Largest number of images.

    Raises:
        TensorError: The request does not follow the protocol, or has inputs that this service does not have.
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
    if not header.isdecimal() or len(header) > 12 or int(header) > most:
        raise TensorError(f"{HEADER}: {header[:40]!r} is not a length within the body's {most} bytes")
    return int(header)


def _check_kind(tensor: RequestInput) -> None:
    kinds = {IMAGES: "FP32", PICTURES: "BYTES"}
    if kinds.get(tensor.name) != tensor.datatype:
        raise TensorError(
            f"input {tensor.name[:60]!r} of {tensor.datatype[:20]}; give {IMAGES!r} of FP32 (n, 3, height, width) or "
            f"{PICTURES!r} of BYTES (n,)"
        )
    if not tensor.shape or any(not 0 < side < 2**31 for side in tensor.shape):
        raise TensorError(f"shape {tensor.shape}: sides are at least 1")


def _check_outputs(outputs: Sequence[RequestOutput]) -> None:
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
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        if rest:
            raise TensorError(f"{len(rest)} bytes follow the JSON and no input says binary_data_size")
        return None
    if size != len(rest) or tensor.data is not None:
        raise TensorError(f"binary_data_size = {size}: {len(rest)} bytes follow the JSON; 'data' must be left out then")
    return rest


def _prepared(tensor: RequestInput, binary: bytes | None) -> list[NDArray[np.float32]]:
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
    found = _split(binary) if binary is not None else [_decoded(item) for item in _flat(tensor.data or [])]
    if len(found) != prod(tensor.shape):
        raise TensorError(f"shape {tensor.shape} has {prod(tensor.shape)} elements, and {len(found)} came")
    return found


def _split(binary: bytes) -> list[bytes]:
    """Splits elements, each of which has its length before it, as four bytes in little-endian order."""
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
    return [item for row in items for item in (row if isinstance(row, list) else [row])]


def _decoded(item: object) -> bytes:
    if not isinstance(item, str):
        raise TensorError(f"an element of {PICTURES!r} is a {type(item).__name__}; in JSON they are base64")
    try:
        return base64.b64decode(item.encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise TensorError(f"an element of {PICTURES!r} is not base64: {error}") from error


@dataclass(frozen=True)
class EncodedAnswer:
    """An answer, ready to be sent.

    Attributes:
        body: The whole body.
        json_length: Number of its bytes that are JSON; None where all are.
    """

    body: bytes
    json_length: int | None


def write_answer(
    request: InferRequest,
    head: Mapping[str, Any],
    logits: NDArray[np.float32],
    labels: Sequence[str],
    *,
    max_bytes: int,
    temperature: float = 1.0,
    features: NDArray[np.float32] | None = None,
) -> EncodedAnswer:
    """Encodes the answer to a request, image by image: an encoder in C stops all other threads until it is done.

    Args:
        request: The request that is answered.
        head: "model_name" and "model_version", which go into the JSON.
        logits: Shape (n, classes), one row for each image; finite.
        labels: Label of each class.
        max_bytes: Largest size of the answer.
        temperature: Number by which logits are divided before the softmax.
        features: Shape (n, width), one row for each image; None where the request does not ask for them.

    Raises:
        TensorError: A number of classes is not between 1 and the number of labels.
        BodyTooLargeError: The answer would be longer than `max_bytes`.
    """
    everything = request.parameters.get("binary_data_output") is True
    entries: list[bytes] = []
    tail: list[bytes] = []
    size = 0
    for wanted in request.outputs or [RequestOutput(name=LOGITS)]:
        values = _values(wanted.name, logits, features, temperature)
        top = wanted.parameters.get("classification")
        binary = wanted.parameters.get("binary_data", everything) is True
        encode = _packed if binary else _as_json
        rows: list[bytes] = []
        for row in values if top is None else _classes(values, top, labels):
            rows.append(encode(row))
            size += len(rows[-1])
            if size > max_bytes:
                raise BodyTooLargeError(f"the answer would be longer than the allowed {max_bytes:,} bytes: send fewer images")
        kind = {"datatype": "FP32", "shape": list(values.shape)} if top is None else _kind_of_classes(values, top)
        entry = {"name": wanted.name, **kind, **({"parameters": {"binary_data_size": sum(map(len, rows))}} if binary else {})}
        entries.append(_compact(entry) if binary else b'%s,"data":[%s]}' % (_compact(entry)[:-1], b",".join(rows)))
        tail += rows if binary else []
    opening = _compact({**head, **({"id": request.id} if request.id is not None else {})})
    text = b'%s,"outputs":[%s]}' % (opening[:-1], b",".join(entries))
    return EncodedAnswer(b"".join((text, *tail)), len(text) if tail else None)


def _values(
    name: str, logits: NDArray[np.float32], features: NDArray[np.float32] | None, temperature: float
) -> NDArray[np.float32]:
    if name == FEATURES and features is not None:
        return features
    return logits if name == LOGITS else softmax(logits.astype(np.float64) / temperature).astype(np.float32)


def _compact(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _as_json(row: NDArray[np.float32] | list[str]) -> bytes:
    """Encodes one image's row of an output (its logits, probabilities or class texts) as JSON in UTF-8.

    The outer brackets are left out, so that rows can be joined by commas.
    """
    return _compact(row if isinstance(row, list) else row.tolist())[1:-1]


def _packed(row: NDArray[np.float32] | list[str]) -> bytes:
    if isinstance(row, list):
        return b"".join(struct.pack("<I", len(text)) + text for text in (text.encode() for text in row))
    return row.astype("<f4").tobytes()


def _kind_of_classes(values: NDArray[np.float32], top: int) -> dict[str, Any]:
    return {"datatype": "BYTES", "shape": [len(values), top]}


def _classes(values: NDArray[np.float32], top: Any, labels: Sequence[str]) -> Iterator[list[str]]:
    """Gives, for each image, its `top` most likely classes as texts "value:index:label"."""
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= len(labels):
        raise TensorError(f"classification = {str(top)[:40]}: how many classes, 1 to {len(labels)}")
    for row in values:
        yield [f"{row[i]:f}:{i}:{labels[i]}" for i in np.argsort(-row, kind="stable")[:top]]
