"""`write_answer`: encodes answers of the Open Inference Protocol, which are JSON with tensors in it or as bytes after it."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubserve.errors import BodyTooLargeError, TensorError
from hubserve.package.predictions import softmax
from hubserve.service.inference_protocol import FEATURES, LOGITS, InferRequest, RequestOutput


@dataclass(frozen=True)
class EncodedAnswer:
    """The body of an answer.

    Attributes:
        body: The whole body.
        json_length: Number of its bytes that are JSON; None if all are.
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
    """Encodes the answer to a request. Rows are encoded one by one, because an encoder in C stops all other threads.

    Args:
        request: The request.
        head: "model_name" and "model_version" for the JSON of the answer.
        logits: Finite logits, (n, classes), one row for each image.
        labels: Label of each class.
        max_bytes: Largest size of the answer in bytes.
        temperature: Number by which logits are divided before the softmax.
        features: Features, (n, width), one row for each image; None if the request does not ask for them.

    Raises:
        TensorError: A number of classes for "classification" is not between 1 and the number of labels.
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
    """Returns the values of the output `name`, one row for each image."""
    if name == FEATURES and features is not None:
        return features
    return logits if name == LOGITS else softmax(logits.astype(np.float64) / temperature).astype(np.float32)


def _compact(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _as_json(row: NDArray[np.float32] | list[str]) -> bytes:
    """Returns the row of one image in an output as JSON, without the outer brackets, so that rows can be joined by commas."""
    return _compact(row if isinstance(row, list) else row.tolist())[1:-1]


def _packed(row: NDArray[np.float32] | list[str]) -> bytes:
    """Returns the row of one image in an output as the bytes of a BYTES or FP32 tensor."""
    if isinstance(row, list):
        return b"".join(struct.pack("<I", len(text)) + text for text in (text.encode() for text in row))
    return row.astype("<f4").tobytes()


def _kind_of_classes(values: NDArray[np.float32], top: int) -> dict[str, Any]:
    return {"datatype": "BYTES", "shape": [len(values), top]}


def _classes(values: NDArray[np.float32], top: Any, labels: Sequence[str]) -> Iterator[list[str]]:
    """Yields, for each image, its `top` most likely classes as strings "value:index:label". Raises TensorError."""
    if not isinstance(top, int) or isinstance(top, bool) or not 1 <= top <= len(labels):
        raise TensorError(f"classification = {str(top)[:40]}: how many classes, 1 to {len(labels)}")
    for row in values:
        yield [f"{row[i]:f}:{i}:{labels[i]}" for i in np.argsort(-row, kind="stable")[:top]]
