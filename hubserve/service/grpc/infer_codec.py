"""`read_infer` and `write_infer`: a request for inference and its answer, between protobuf and `hubserve.service`."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from hubserve.errors import TensorError
from hubserve.package.signature import ModelSignature
from hubserve.service import inference_protocol as protocol
from hubserve.service.engine import Answer
from hubserve.service.grpc.field_count import check_field_count
from hubserve.service.grpc.messages import MESSAGES
from hubserve.service.inference_answer import EncodedOutput, encode_outputs, stack_answers
from hubserve.service.inference_texts import TextsRequest, decode_texts_or_tensors
from hubserve.service.loaded_model import LoadedModel
from hubserve.service.tensor_protocol import TensorRequest, decode_tensors
from hubserve.validation_sentence import first_mistake


def read_message(body: bytes, name: str) -> Any:
    """Returns the message of the class `name` that is encoded in `body`.

    Raises:
        TensorError: It cannot be read, or has too many fields.
    """
    check_field_count(body, name)
    try:
        return MESSAGES[name].FromString(body)
    except DecodeError as error:
        raise TensorError(f"the message cannot be read: {error}") from error


def read_infer(message: Any, *, max_images: int) -> protocol.DecodedRequest:
    """Decodes a ModelInferRequest with its images.

    Args:
        message: The message.
        max_images: Largest number of images.

    Raises:
        TensorError: The request does not follow the protocol, asks for something that this service does not have, or has too
            many images.
    """
    tensors = _tensors(message)
    if len(tensors) > 1:
        raise TensorError(f"{len(tensors)} inputs with elements; an image classifier takes one")
    request = _request(message, tensors)
    return protocol.decode_images(request, b"".join(tensors), max_images=max_images)


def read_infer_tensors(
    message: Any, *, signature: ModelSignature, max_rows: int, texts: bool = False
) -> TensorRequest | TextsRequest:
    """Decodes a ModelInferRequest with the tensors of a model of any inputs, or with texts.

    Args:
        message: The message.
        signature: Inputs and outputs of the model.
        max_rows: Largest batch size.
        texts: Whether the model is a text classifier, for which the request may have texts in place of tensors.

    Raises:
        TensorError: The request does not follow the protocol, or its tensors or outputs are not those of the model.
    """
    tensors = _tensors(message)
    request = _request(message, tensors)
    decode = decode_texts_or_tensors if texts else decode_tensors
    return decode(request, b"".join(tensors), signature=signature, max_rows=max_rows)


def _request(message: Any, tensors: Sequence[bytes]) -> protocol.InferRequest:
    """Returns a ModelInferRequest as the JSON of a request over HTTP, whose tensors follow it as bytes. Raises TensorError."""
    # Without elements, an input has no size; `_tensors` has checked that all have some, or none.
    sizes: list[dict[str, Any]] = [{"binary_data_size": len(tensor)} for tensor in tensors] or [{}] * len(message.inputs)
    inputs = [
        {"name": one.name, "datatype": one.datatype, "shape": list(one.shape), "parameters": _known(one.parameters) | size}
        for one, size in zip(message.inputs, sizes, strict=True)
    ]
    outputs = [{"name": one.name, "parameters": _known(one.parameters)} for one in message.outputs]
    given = {"id": message.id or None, "inputs": inputs, "outputs": outputs, "parameters": {"binary_data_output": True}}
    try:
        return protocol.InferRequest.model_validate(given)
    except ValidationError as error:
        raise TensorError(first_mistake(error, whole="the message")) from error


def write_infer(
    message: Any,
    request: protocol.InferRequest,
    outcomes: Sequence[Answer | BaseException],
    served: LoadedModel,
    *,
    max_bytes: int,
) -> bytes:
    """Returns the encoded ModelInferResponse, whose tensors are in `raw_output_contents`.

    Args:
        message: The ModelInferRequest.
        request: What `read_infer` made of it.
        outcomes: Answer or error of each image or text; the first error is raised.
        served: The model, a classifier of images or texts.
        max_bytes: Largest size of the tensors in bytes.

    Raises:
        TensorError: A number of classes for "classification" is not between 1 and the number of labels.
        BodyTooLargeError: The tensors would be longer than `max_bytes`.
        BaseException: The first error in `outcomes`; see `stack_answers`.
    """
    logits, features = stack_answers(outcomes, request.inputs[0].name)
    engine = served.classifier
    encoded = encode_outputs(
        request, logits, engine.labels, max_bytes=max_bytes, temperature=engine.temperature, features=features
    )
    return join_response(message, served, encoded)


def join_response(message: Any, served: LoadedModel, outputs: Iterable[EncodedOutput]) -> bytes:
    """Returns the encoded ModelInferResponse with these outputs.

    Args:
        message: The ModelInferRequest.
        served: The model.
        outputs: The encoded outputs, as bytes.
    """
    answer = MESSAGES["ModelInferResponse"](
        model_name=message.model_name, model_version=served.tag.partition(":")[2], id=message.id
    )
    for output in outputs:
        answer.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        answer.raw_output_contents.append(b"".join(output.rows))
    return bytes(answer.SerializeToString())


def _tensors(message: Any) -> list[bytes]:
    """Returns the elements of each input as the bytes that follow the JSON of a request over HTTP; empty if there are none.

    Raises TensorError if they are given in both ways, or if there are more tensors of them than inputs, or fewer.
    """
    contents = [one.contents for one in message.inputs if one.HasField("contents")]
    raw = message.raw_input_contents
    if raw and contents:
        raise TensorError("elements are in raw_input_contents and in contents; give them in one of these")
    found = [bytes(tensor) for tensor in raw] if raw else [_content(one) for one in contents]
    if found and len(found) != len(message.inputs):
        raise TensorError(f"elements of {len(found)} tensors, and there are {len(message.inputs)} inputs")
    return found


def _content(contents: Any) -> bytes:
    """Returns the elements of an InferTensorContents as bytes, little-endian, or with the length before each text.

    If several of its lists have elements, the first one of FP32, INT64, INT32, BOOL and BYTES is taken.
    """
    for name, dtype in (("fp32", "<f4"), ("int64", "<i8"), ("int", "<i4"), ("bool", "?")):
        if values := getattr(contents, f"{name}_contents"):
            return np.array(values, dtype).tobytes()
    return b"".join(len(one).to_bytes(4, "little") + one for one in contents.bytes_contents)


def _known(parameters: Iterable[Any]) -> dict[str, Any]:
    """Returns the parameters "classification" and "shared_memory_region" of a tensor by name; without a value, one is 0.

    Their types are not checked.
    """
    return {
        one.key: getattr(one.value, one.value.WhichOneof("choice") or "int64_param")
        for one in parameters
        if one.key in ("classification", "shared_memory_region")
    }
