"""Texts in the Open Inference Protocol: decodes those of a request for a text classifier, whose tensors it may have instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hubserve.errors import TensorError
from hubserve.package.signature import ModelSignature
from hubserve.service.inference_protocol import (
    LOGITS,
    PROBABILITIES,
    InferRequest,
    binary_of,
    check_no_shared_memory,
    check_outputs,
)
from hubserve.service.inference_tensors import flat, split_elements
from hubserve.service.tensor_protocol import TensorRequest, decode_tensors

TEXTS = "texts"
"""Name of the input of a text classifier, BYTES (n,): texts in UTF-8, in JSON as they are."""

TEXT_OUTPUTS = (LOGITS, PROBABILITIES)
"""Names of the outputs for texts, each FP32 (n, classes)."""


@dataclass(frozen=True)
class TextsRequest:
    """A request with its texts.

    Attributes:
        request: The JSON of the request.
        texts: The texts.
    """

    request: InferRequest
    texts: list[str]


def decode_texts_or_tensors(
    request: InferRequest, rest: bytes, *, signature: ModelSignature, max_rows: int
) -> TextsRequest | TensorRequest:
    """Checks a request for a text classifier, and decodes its texts, or its token ids if it has no input `TEXTS`.

    If the network itself has an input of that name, the request has tensors. Empty texts are not refused here.

    Args:
        request: The request.
        rest: Bytes of the inputs that say `binary_data_size`, one after the other; those of a text are UTF-8 after its length.
        signature: Inputs and outputs of the network.
        max_rows: Largest number of texts, or of rows of tokens.

    Raises:
        TensorError: The request does not follow the protocol, or its inputs or outputs are not those of the model.
    """
    # An input of the network that has this name comes first: it was there before.
    if any(tensor.name == TEXTS for tensor in request.inputs) and TEXTS not in (entry.name for entry in signature.inputs):
        return TextsRequest(request, _texts(request, rest, max_texts=max_rows))
    return decode_tensors(
        request, rest, signature=signature, max_rows=max_rows, also=f", or {TEXTS} of BYTES (n,) in its place"
    )


def _texts(request: InferRequest, rest: bytes, *, max_texts: int) -> list[str]:
    """Returns the texts of a request with the input `TEXTS`. Raises TensorError."""
    if len(request.inputs) != 1:
        raise TensorError(f"{len(request.inputs)} inputs; beside {TEXTS!r} there may be no other")
    (tensor,) = request.inputs
    check_no_shared_memory(request)
    check_outputs(request.outputs, TEXT_OUTPUTS)
    if tensor.datatype != "BYTES":
        raise TensorError(f"input {TEXTS!r} of {tensor.datatype[:20]}; give it as BYTES (n,): texts in UTF-8")
    if len(tensor.shape) != 1 or tensor.shape[0] < 1:
        raise TensorError(f"shape {tensor.shape}: {TEXTS!r} has one side, the number of texts, which is at least 1")
    if tensor.shape[0] > max_texts:
        raise TensorError(f"{tensor.shape[0]} texts; at most {max_texts} are taken at once")
    binary = binary_of(tensor, rest)
    elements: Sequence[Any] = flat(tensor.data or []) if binary is None else split_elements(binary, TEXTS)
    if len(elements) != tensor.shape[0]:
        raise TensorError(f"shape {tensor.shape} has {tensor.shape[0]} elements, and {len(elements)} came")
    return [_text(index, element) for index, element in enumerate(elements)]


def _text(index: int, element: object) -> str:
    """Returns the text of the element `index`, a str or UTF-8 bytes. Raises TensorError if it is neither."""
    if isinstance(element, str):
        return element
    if not isinstance(element, bytes):
        raise TensorError(f"element {index} of {TEXTS!r} is a {type(element).__name__}; each is a text")
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise TensorError(f"element {index} of {TEXTS!r} is no UTF-8: {error.reason} at byte {error.start}") from error
