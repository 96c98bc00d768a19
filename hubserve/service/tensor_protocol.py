"""Tensors of models of any inputs in the Open Inference Protocol: decodes those of a request, encodes those of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from hubserve.errors import BodyTooLargeError, TensorError
from hubserve.package.signature import Array, ModelSignature
from hubserve.service.inference_answer import EncodedOutput, as_json, packed, top_classes
from hubserve.service.inference_protocol import (
    InferRequest,
    RequestInput,
    RequestOutput,
    check_no_shared_memory,
)
from hubserve.service.inference_tensors import CHUNK

DATATYPES = {"float32": "FP32", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}
"""Name of a type in the protocol, by its name in the manifest."""

_JSON_TYPES: dict[str, set[type]] = {"float32": {int, float}, "int64": {int}, "int32": {int}, "bool": {bool}}
"""Types of the elements in JSON, by the type of the tensor."""


@dataclass(frozen=True)
class TensorRequest:
    """A request with its tensors.

    Attributes:
        request: The JSON of the request.
        inputs: Arrays by the names of the inputs. Their names and types are those of the model; whether one is missing, and
            shapes and values, are checked later, by `ModelSignature.check`.
    """

    request: InferRequest
    inputs: dict[str, Array]


def decode_tensors(
    request: InferRequest, rest: bytes, *, signature: ModelSignature, max_rows: int, also: str = ""
) -> TensorRequest:
    """Checks the inputs and outputs of a request, and decodes its tensors.

    Args:
        request: The request.
        rest: Bytes of the inputs that say `binary_data_size`, one after the other.
        signature: Inputs and outputs of the model.
        max_rows: Largest batch size.
        also: What the model takes besides these tensors, as the end of a sentence, for the error message.

    Raises:
        TensorError: The request does not follow the protocol, its tensors or outputs are not those of the model, or a tensor
            has more than `max_rows` rows.
    """
    check_no_shared_memory(request)
    _check_outputs(request.outputs, signature)
    types = {entry.name: entry.dtype for entry in signature.inputs}
    inputs: dict[str, Array] = {}
    place = 0
    for tensor in request.inputs[: len(types) + 1]:
        name, size = tensor.name[:60], tensor.parameters.binary_data_size
        dtype = types.get(tensor.name)
        if dtype is None or tensor.datatype != DATATYPES[dtype] or tensor.name in inputs:
            takes = ", ".join(f"{entry.name} of {DATATYPES[entry.dtype]}" for entry in signature.inputs)
            raise TensorError(f"input {name!r} of {tensor.datatype[:20]}; this model takes {takes}, each of them once{also}")
        if not tensor.shape or any(not 0 < side < 2**31 for side in tensor.shape):
            raise TensorError(f"input {name!r}: shape {tensor.shape}: sides are at least 1")
        if tensor.shape[0] > max_rows:
            raise TensorError(f"input {name!r}: {tensor.shape[0]} rows; at most {max_rows} are taken at once")
        binary = None if size is None else rest[place : place + size]
        place += size or 0
        inputs[tensor.name] = _array(tensor, dtype, binary)
    if place != len(rest):
        raise TensorError(f"{len(rest)} bytes follow the JSON, and the inputs' binary_data_size are {place} together")
    return TensorRequest(request, inputs)


def encode_tensors(
    request: InferRequest, outputs: Sequence[Array], signature: ModelSignature, labels: Sequence[str], *, max_bytes: int
) -> Iterator[EncodedOutput]:
    """Yields the encoded outputs that a request asks for. Each is encoded row by row: an encoder in C stops all other threads.

    Args:
        request: The request, which `decode_tensors` has checked; without `outputs` it asks for all.
        outputs: Outputs of the model, in the order of the signature.
        signature: Inputs and outputs of the model.
        labels: Label of each class; empty if the model is no classifier.
        max_bytes: Largest size of all outputs together in bytes.

    Raises:
        TensorError: A number of classes for "classification" is not between 1 and the number of labels.
        BodyTooLargeError: The outputs would be longer than `max_bytes`.
    """
    names, size = [entry.name for entry in signature.outputs], 0
    for wanted in request.outputs or [RequestOutput(name=name) for name in names]:
        place = names.index(wanted.name)
        values, top = outputs[place], wanted.parameters.classification
        asked = wanted.parameters.binary_data
        binary = request.parameters.binary_data_output if asked is None else asked
        rows: list[bytes] = []
        for row in values if top is None else top_classes(values, top, labels):
            flat = row if isinstance(row, list) else np.ravel(row)
            rows.append(packed(flat) if binary else as_json(flat))
            size += len(rows[-1])
            if size > max_bytes:
                raise BodyTooLargeError(f"the answer would be longer than the allowed {max_bytes:,} bytes: send fewer rows")
        kind = DATATYPES[signature.outputs[place].dtype] if top is None else "BYTES"
        yield EncodedOutput(wanted.name, kind, list(values.shape) if top is None else [len(values), top], rows, binary)


def _check_outputs(outputs: Sequence[RequestOutput], signature: ModelSignature) -> None:
    """Checks the requested outputs. Raises TensorError for an unknown or repeated name, or "classification" without logits."""
    known = [entry.name for entry in signature.outputs]
    names = [output.name for output in outputs]
    for name in names[: len(known) + 1]:
        if name not in known:
            raise TensorError(f"output {name[:60]!r}: there are {', '.join(known)}")
    if len(set(names)) < len(names):
        raise TensorError(f"{len(names)} outputs: each of {', '.join(known)} may be asked for once")
    for output in outputs:
        if output.parameters.classification is not None and not (signature.classes and output.name == known[0]):
            raise TensorError(f"classification: {output.name!r} are no logits of classes")


def _array(tensor: RequestInput, dtype: str, binary: bytes | None) -> Array:
    """Returns the array of one input, from its bytes or, if `binary` is None, from its elements in the JSON.

    Raises:
        TensorError: The elements are not as many, or not of the type, that it says; or it has both bytes and elements.
    """
    count, name = prod(tensor.shape), tensor.name
    if binary is not None and tensor.data is not None:
        raise TensorError(f"{name!r}: binary_data_size and 'data' exclude each other")
    kind = np.dtype(dtype)
    if binary is not None:
        if len(binary) != count * kind.itemsize:
            wanted = count * kind.itemsize
            raise TensorError(f"{name!r}: shape {tensor.shape} of {tensor.datatype} has {wanted} bytes, and {len(binary)} came")
        raw = np.frombuffer(binary, kind.newbyteorder("<") if dtype != "bool" else np.uint8)
        if dtype == "bool" and (raw > 1).any():
            raise TensorError(f"{name!r}: the bytes of BOOL are 0 or 1")
        return raw.astype(kind, copy=False).reshape(tensor.shape)
    _check_elements(tensor.data or [], _JSON_TYPES[dtype], name, tensor.datatype)
    try:
        values = np.array(tensor.data or [], kind).ravel()
    except (ValueError, TypeError, OverflowError) as error:
        raise TensorError(f"the elements of {name!r} are no {tensor.datatype}: {error}") from error
    if values.size != count:
        raise TensorError(f"{name!r}: shape {tensor.shape} has {count} elements, and {values.size} came")
    return values.reshape(tensor.shape)


def _check_elements(data: Sequence[Any], kinds: set[type], name: str, datatype: str) -> None:
    """Raises TensorError if an element, at any depth, has another type, which numpy would convert."""
    if data and isinstance(data[0], list):
        for row in data:
            if isinstance(row, list):
                _check_elements(row, kinds, name, datatype)
        return
    for start in range(0, len(data), CHUNK):
        for kind in set(map(type, data[start : start + CHUNK])) - kinds - {list}:
            raise TensorError(f"the elements of {name!r} are no {datatype}: one is a {kind.__name__}")
