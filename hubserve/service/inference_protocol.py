"""Reads requests of the Open Inference Protocol: `read_request` decodes a request with its images.

`hubserve.service.inference_answer` encodes the answers.

A message is JSON. Tensors are in it, or, as Triton extends the protocol, follow it as bytes. See
https://github.com/kserve/open-inference-protocol, and the extensions "binary tensor data" and "classification" in
https://github.com/triton-inference-server/server/tree/main/docs/protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError, model_validator
from pydantic_core import from_json

from hubserve.errors import TensorError
from hubserve.service import json_bounds
from hubserve.service.inference_tensors import IMAGES, PICTURES, image_files, prepared_images
from hubserve.validation_sentence import first_mistake

HEADER = "inference-header-content-length"
"""Header with the number of bytes of a message that are JSON; the bytes of tensors follow them."""

LOGITS, PROBABILITIES, FEATURES = "logits", "probabilities", "features"
"""Names of the outputs: logits and probabilities are FP32 (n, classes), features FP32 (n, width) if the model has them."""

OUTPUTS = (LOGITS, PROBABILITIES, FEATURES)
"""Names of all outputs."""


class _Record(BaseModel):
    """Base class of the records of a message. Unknown keys are ignored, and a key whose value is null is as if left out."""

    # The protocol allows keys that the other side does not know.
    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data


class InputParameters(_Record):
    """The parameters of a tensor of a request.

    Attributes:
        binary_data_size: Number of bytes of the tensor after the JSON; None if its elements are in the JSON.
        shared_memory_region: Refused, because this service has no shared memory.
    """

    binary_data_size: Annotated[StrictInt, Field(ge=0)] | None = None
    shared_memory_region: Any = None


class OutputParameters(_Record):
    """The parameters of a tensor that the answer should contain.

    Attributes:
        binary_data: Whether the tensor follows the JSON as bytes; None takes what `RequestParameters` say.
        classification: Number of classes: that many most likely classes are sent instead of logits or probabilities, as strings
            "value:index:label". None sends the numbers.
        shared_memory_region: Refused, because this service has no shared memory.
    """

    binary_data: StrictBool | None = None
    classification: StrictInt | None = None
    shared_memory_region: Any = None


class RequestParameters(_Record):
    """The parameters of a request.

    Attributes:
        binary_data_output: Whether outputs follow the JSON as bytes, except those that say otherwise.
    """

    binary_data_output: StrictBool = False


class RequestInput(_Record):
    """A tensor of a request.

    Attributes:
        name: `IMAGES` or `PICTURES`; for a text classifier "texts"; for a model of other inputs, the name of one of them.
        shape: Length of each of at most 8 axes; each is at least 1.
        datatype: "FP32" for `IMAGES`, "BYTES" for `PICTURES` and texts; for other inputs "FP32", "INT64", "INT32" or "BOOL".
        parameters: Parameters of the tensor; unknown ones are ignored.
        data: Elements, flat or nested; None if they follow the JSON as bytes.
    """

    name: str
    shape: Annotated[list[StrictInt], Field(max_length=8)]
    datatype: str
    parameters: InputParameters = InputParameters()
    data: list[Any] | None = None


class RequestOutput(_Record):
    """A tensor that the answer should contain.

    Attributes:
        name: `LOGITS`, `PROBABILITIES` or `FEATURES`; for a model of other inputs, the name of one of its outputs.
        parameters: Parameters of the tensor; unknown ones are ignored.
    """

    name: str
    parameters: OutputParameters = OutputParameters()


class InferRequest(_Record):
    """The JSON of a request.

    Attributes:
        id: Text of at most 1,000 characters that is copied into the answer; None if there is none.
        parameters: Parameters of the request; unknown ones are ignored.
        inputs: Exactly one tensor; for a model of other inputs, one tensor for each of them.
        outputs: Tensors that the answer should contain, each at most once; an empty list means all that the model has.
    """

    id: Annotated[str, Field(max_length=1000)] | None = None
    parameters: RequestParameters = RequestParameters()
    inputs: list[RequestInput]
    outputs: list[RequestOutput] = []


class RepositoryRequest(_Record):
    """The JSON of a request to the repository of models, as in Triton's extension "model_repository".

    Attributes:
        ready: Whether the index has only the versions that are loaded.
        parameters: Changes to the model that is to be loaded. This service refuses a request that has any.
    """

    ready: StrictBool = False
    parameters: dict[str, Any] = {}


@dataclass(frozen=True)
class DecodedRequest:
    """A request with its images.

    Attributes:
        request: The JSON of the request.
        images: For each image the bytes of its file, or a prepared float32 array. `Engine.prepare` reads the file, or checks
            that the array has the shape (3, size, size).
    """

    request: InferRequest
    images: Sequence[bytes | NDArray[np.float32]]

    def wants_features(self, *, has_features: bool) -> bool:
        """Returns whether the answer should contain `FEATURES`.

        Args:
            has_features: Whether the model has features.
        """
        names = [output.name for output in self.request.outputs]
        return FEATURES in names if names else has_features


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
    request, rest = parse_request(body, header)
    return decode_images(request, rest, max_images=max_images)


def parse_request(body: bytes, header: str | None) -> tuple[InferRequest, bytes]:
    """Returns the JSON of a request, and the bytes that follow it.

    Args:
        body: The whole body of the request.
        header: Value of the header `HEADER`; None if the whole body is JSON.

    Raises:
        TensorError: `header` is not a length within the body, the JSON cannot be read or has too many elements, or it is no
            request of the protocol.
    """
    length = len(body) if header is None else _length(header, len(body))
    text = body[:length]
    if problem := json_bounds.too_many(text):
        raise TensorError(problem)
    try:
        # Five times as fast as the standard library: a parser in C stops all other threads until it is done.
        return InferRequest.model_validate(from_json(text)), body[length:]
    except ValidationError as error:
        raise TensorError(first_mistake(error, whole="the body")) from error
    except ValueError as error:
        raise TensorError(f"the JSON cannot be read: {error}") from error


def decode_images(request: InferRequest, rest: bytes, *, max_images: int) -> DecodedRequest:
    """Checks the inputs and outputs of a request, and returns it with its images, which are not decoded yet.

    Args:
        request: The request.
        rest: Bytes of the input, as they follow the JSON; empty if its elements are in `request`.
        max_images: Largest number of images.

    Raises:
        TensorError: The inputs or outputs do not follow the protocol or are not those of an image classifier, or there are too
            many images.
    """
    if len(request.inputs) != 1:
        raise TensorError(f"{len(request.inputs)} inputs; give one: {IMAGES!r} (FP32) or {PICTURES!r} (BYTES)")
    (tensor,) = request.inputs
    check_no_shared_memory(request)
    _check_kind(tensor)
    check_outputs(request.outputs)
    count = prod(tensor.shape) if tensor.name == PICTURES else tensor.shape[0]
    if count > max_images:
        raise TensorError(f"{count} images; at most {max_images} are taken at once")
    binary = binary_of(tensor, rest)
    if tensor.name == PICTURES:
        return DecodedRequest(request, image_files(tensor.shape, tensor.data or [], binary))
    return DecodedRequest(request, prepared_images(tensor.shape, tensor.data or [], binary))


def _length(header: str, most: int) -> int:
    """Returns the number of bytes that are JSON. Raises TensorError if it is not a number of at most `most`."""
    if not header.isdecimal() or len(header) > 12 or int(header) > most:
        raise TensorError(f"{HEADER}: {header[:40]!r} is not a length within the body's {most} bytes")
    return int(header)


def check_no_shared_memory(request: InferRequest) -> None:
    """Raises TensorError for an input or output that is to be in shared memory."""
    tensors: list[RequestInput | RequestOutput] = [*request.inputs, *request.outputs]
    for tensor in tensors:
        if tensor.parameters.shared_memory_region is not None:
            raise TensorError(
                f"{tensor.name[:60]!r} is to be in shared memory, and this service has none: send tensors in JSON, or as "
                "bytes after it"
            )


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


def check_outputs(outputs: Sequence[RequestOutput], known: Sequence[str] = OUTPUTS) -> None:
    """Checks the outputs that a request asks for.

    Args:
        outputs: The outputs.
        known: Names of those that there are, at least two.

    Raises:
        TensorError: A name is unknown or repeated, or features should be classified.
    """
    names = [output.name[:60] for output in outputs]
    listed = f"{', '.join(map(repr, known[:-1]))} and {known[-1]!r}"
    for name in names[: len(known) + 1]:  # Of more, one of these is unknown or repeated.
        if name not in known:
            raise TensorError(f"output {name!r}: there are {listed}")
    if len(set(names)) < len(names):
        raise TensorError(f"{len(names)} outputs: {listed} may each be asked for once")
    for output in outputs:
        if output.name == FEATURES and output.parameters.classification is not None:
            raise TensorError(f"classification: {FEATURES!r} are no classes; ask for it with {LOGITS!r} or {PROBABILITIES!r}")


def binary_of(tensor: RequestInput, rest: bytes) -> bytes | None:
    """Returns the bytes of the only input that follow the JSON; None if its elements are in the JSON.

    Args:
        tensor: The input.
        rest: The bytes that follow the JSON.

    Raises:
        TensorError: The input does not say how many bytes follow, says another number, or has elements in the JSON, too.
    """
    size = tensor.parameters.binary_data_size
    if size is None:
        if rest:
            raise TensorError(f"{len(rest)} bytes follow the JSON and no input says binary_data_size")
        return None
    if size != len(rest) or tensor.data is not None:
        raise TensorError(f"binary_data_size = {size}: {len(rest)} bytes follow the JSON; 'data' must be left out then")
    return rest
