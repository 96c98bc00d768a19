"""Encodes answers of the Open Inference Protocol: `write_answer` for HTTP, as JSON with tensors in it or as bytes after it.

`encode_outputs` encodes the tensors alone, which gRPC sends, too.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hubserve.errors import BodyTooLargeError, ImageError, TensorError, TextError
from hubserve.package.predictions import softmax
from hubserve.service.engine import Answer
from hubserve.service.inference_protocol import FEATURES, LOGITS, OUTPUTS, InferRequest, RequestOutput


class ResponseOutput(BaseModel):
    """A tensor of an answer.

    Attributes:
        name: `LOGITS`, `PROBABILITIES` or `FEATURES`; of a model of other inputs, one of the outputs that its metadata name.
        datatype: Data type of the elements as in the model's metadata, or "BYTES" for classes.
        shape: Length of each axis.
        data: Elements: numbers, or strings "value:index:label"; left out if the tensor follows the JSON as bytes.
        parameters: "binary_data_size", the number of bytes of a tensor that follows the JSON; else left out.
    """

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] = []
    parameters: dict[str, int] = {}


class InferResponse(BaseModel):
    """The JSON of an answer; `write_answer` writes it without this class, which describes it for the OpenAPI document.

    Attributes:
        model_name: Name of the model, as the request had it.
        model_version: Version that answered.
        id: The id of the request; left out if it had none.
        outputs: The tensors.
    """

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str = ""
    outputs: list[ResponseOutput]


@dataclass(frozen=True)
class EncodedAnswer:
    """The body of an answer.

    Attributes:
        body: The whole body.
        json_length: Number of its bytes that are JSON; None if all are.
    """

    body: bytes
    json_length: int | None


@dataclass(frozen=True)
class EncodedOutput:
    """An output of an answer.

    Attributes:
        name: `LOGITS`, `PROBABILITIES` or `FEATURES`; of a model of other inputs, one of the outputs that its metadata name.
        datatype: Data type of the elements as in the model's metadata, or "BYTES" for classes.
        shape: Length of each axis.
        rows: For each image, or each row of a batch, its elements: as bytes, or as JSON without the outer brackets.
        binary: Whether the rows are bytes.
    """

    name: str
    datatype: str
    shape: list[int]
    rows: list[bytes]
    binary: bool


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
    """Encodes the answer to a request as JSON, with tensors in it or as bytes after it.

    Args:
        request: The request.
        head: "model_name" and "model_version" for the JSON of the answer.
        logits: Finite logits, (n, classes), one row for each image.
        labels: Label of each class.
        max_bytes: Largest size of the encoded elements of all tensors in bytes; the rest of the JSON is not counted.
        temperature: Number by which logits are divided before the softmax.
        features: Finite features, (n, width), one row for each image; None only if the request does not name `FEATURES`.

    Raises:
        TensorError: A number of classes for "classification" is not between 1 and the number of labels.
        BodyTooLargeError: The elements would have more than `max_bytes`.
    """
    outputs = encode_outputs(request, logits, labels, max_bytes=max_bytes, temperature=temperature, features=features)
    return join_outputs(request, head, outputs)


def join_outputs(request: InferRequest, head: Mapping[str, Any], outputs: Iterable[EncodedOutput]) -> EncodedAnswer:
    """Returns the answer to a request with these outputs, as JSON, with tensors in it or as bytes after it.

    Args:
        request: The request.
        head: "model_name" and "model_version" for the JSON of the answer.
        outputs: The encoded outputs.
    """
    entries: list[bytes] = []
    tail: list[bytes] = []
    for output in outputs:
        entry: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if output.binary:
            entries.append(_compact({**entry, "parameters": {"binary_data_size": sum(map(len, output.rows))}}))
            tail += output.rows
        else:
            entries.append(b'%s,"data":[%s]}' % (_compact(entry)[:-1], b",".join(output.rows)))
    opening = _compact({**head, **({"id": request.id} if request.id is not None else {})})
    text = b'%s,"outputs":[%s]}' % (opening[:-1], b",".join(entries))
    return EncodedAnswer(b"".join((text, *tail)), len(text) if tail else None)


def encode_outputs(
    request: InferRequest,
    logits: NDArray[np.float32],
    labels: Sequence[str],
    *,
    max_bytes: int,
    temperature: float = 1.0,
    features: NDArray[np.float32] | None = None,
) -> Iterator[EncodedOutput]:
    """Encodes and yields the outputs that a request asks for, or all that there are if it names none.

    Each row is encoded by itself, since an encoder in C stops all other threads. Errors are raised while the outputs are read.
    The arguments and exceptions are those of `write_answer`.
    """
    everything = request.parameters.binary_data_output
    size = 0
    names = [name for name in OUTPUTS if name != FEATURES or features is not None]
    for wanted in request.outputs or [RequestOutput(name=name) for name in names]:
        values = _values(wanted.name, logits, features, temperature)
        top = wanted.parameters.classification
        binary = everything if wanted.parameters.binary_data is None else wanted.parameters.binary_data
        encode = packed if binary else as_json
        rows: list[bytes] = []
        for row in values if top is None else top_classes(values, top, labels):
            rows.append(encode(row))
            size += len(rows[-1])
            if size > max_bytes:
                raise BodyTooLargeError(f"the answer would be longer than the allowed {max_bytes:,} bytes: send fewer images")
        shape = list(values.shape) if top is None else [len(values), top]
        yield EncodedOutput(wanted.name, "FP32" if top is None else "BYTES", shape, rows, binary)


def stack_answers(
    outcomes: Sequence[Answer | BaseException], name: str
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Returns the logits of images or texts, one row each, and their features; None if they have none.

    Args:
        outcomes: Answer or error of each image or text, at least one.
        name: Name of the input, for messages.

    Raises:
        BaseException: The first outcome that is an error. If there are several outcomes, the message of an ImageError,
            TensorError or TextError says which one it is, and how many others have errors.
    """
    answers = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ImageError | TensorError | TextError) and len(outcomes) > 1:
            more = sum(isinstance(other, BaseException) for other in outcomes) - 1
            rest = f" (and {more} more have errors)" if more else ""
            raise type(outcome)(f"element {index} of {name!r}: {outcome}{rest}") from outcome
        if isinstance(outcome, BaseException):
            raise outcome
        answers.append(outcome)
    features = [answer.features for answer in answers if answer.features is not None]
    return np.stack([answer.logits for answer in answers]), np.stack(features) if features else None


def _values(
    name: str, logits: NDArray[np.float32], features: NDArray[np.float32] | None, temperature: float
) -> NDArray[np.float32]:
    """Returns the values of the output `name`, one row for each image. `features` must not be None for `FEATURES`."""
    if name == FEATURES and features is not None:
        return features
    return logits if name == LOGITS else softmax(logits.astype(np.float64) / temperature).astype(np.float32)


def _compact(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def as_json(row: NDArray[Any] | list[str]) -> bytes:
    """Returns the row of one image in an output as JSON, without the outer brackets, so that rows can be joined by commas."""
    return _compact(row if isinstance(row, list) else row.tolist())[1:-1]


def packed(row: NDArray[Any] | list[str]) -> bytes:
    """Returns the row of one image as bytes: little-endian numbers, or strings in UTF-8, each with its length before it."""
    if isinstance(row, list):
        return b"".join(struct.pack("<I", len(text)) + text for text in (text.encode() for text in row))
    return row.astype(row.dtype.newbyteorder("<"), copy=False).tobytes()


def top_classes(values: NDArray[np.float32], top: int, labels: Sequence[str]) -> Iterator[list[str]]:
    """Yields, for each row of `values`, its `top` classes of the largest values as strings "value:index:label".

    The largest value comes first, and indices are counted from 0. Raises TensorError, when the first row is read, if `top` is
    not between 1 and the number of labels.
    """
    if not 1 <= top <= len(labels):
        raise TensorError(f"classification = {str(top)[:40]}: how many classes, 1 to {len(labels)}")
    for row in values:
        yield [f"{row[i]:f}:{i}:{labels[i]}" for i in np.argsort(-row, kind="stable")[:top]]
