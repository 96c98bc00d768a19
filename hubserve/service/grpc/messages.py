"""Messages of the Open Inference Protocol over gRPC, as classes of protobuf that are made from the table `FIELDS`.

The numbers and types are those of `grpc_predict_v2.proto`, https://github.com/kserve/open-inference-protocol. The classes are
in a pool of descriptors of their own, so a client library with the same messages may be loaded in the same process. Of the
contents of tensors only BOOL, INT32, INT64, FP32 and BYTES are described: protobuf keeps others as bytes that nobody reads.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
"""Package of the protocol in protobuf."""

SERVICE = f"/{PACKAGE}.GRPCInferenceService/"
"""Start of the path of each method."""

FIELDS: dict[str, tuple[tuple[int, str, str], ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ((1, "live", "bool"),),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ((1, "ready", "bool"),),
    "ModelReadyRequest": ((1, "name", "string"), (2, "version", "string")),
    "ModelReadyResponse": ((1, "ready", "bool"),),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ((1, "name", "string"), (2, "version", "string"), (3, "extensions", "string*")),
    "ModelMetadataRequest": ((1, "name", "string"), (2, "version", "string")),
    "TensorMetadata": ((1, "name", "string"), (2, "datatype", "string"), (3, "shape", "int64*")),
    "ModelMetadataResponse": (
        (1, "name", "string"),
        (2, "versions", "string*"),
        (3, "platform", "string"),
        (4, "inputs", "TensorMetadata*"),
        (5, "outputs", "TensorMetadata*"),
    ),
    "InferParameter": (
        (1, "bool_param", "bool?"),
        (2, "int64_param", "int64?"),
        (3, "string_param", "string?"),
        (4, "double_param", "double?"),
        (5, "uint64_param", "uint64?"),
    ),
    # An entry of a map: on the wire, a map is a repeated message.
    "Parameter": ((1, "key", "string"), (2, "value", "InferParameter")),
    "InferTensorContents": (
        (1, "bool_contents", "bool*"),
        (2, "int_contents", "int32*"),
        (3, "int64_contents", "int64*"),
        (6, "fp32_contents", "float*"),
        (8, "bytes_contents", "bytes*"),
    ),
    "InferInputTensor": (
        (1, "name", "string"),
        (2, "datatype", "string"),
        (3, "shape", "int64*"),
        (4, "parameters", "Parameter*"),
        (5, "contents", "InferTensorContents"),
    ),
    "InferRequestedOutputTensor": ((1, "name", "string"), (2, "parameters", "Parameter*")),
    "ModelInferRequest": (
        (1, "model_name", "string"),
        (2, "model_version", "string"),
        (3, "id", "string"),
        (4, "parameters", "Parameter*"),
        (5, "inputs", "InferInputTensor*"),
        (6, "outputs", "InferRequestedOutputTensor*"),
        (7, "raw_input_contents", "bytes*"),
    ),
    "InferOutputTensor": ((1, "name", "string"), (2, "datatype", "string"), (3, "shape", "int64*")),
    "ModelInferResponse": (
        (1, "model_name", "string"),
        (2, "model_version", "string"),
        (3, "id", "string"),
        (5, "outputs", "InferOutputTensor*"),
        (6, "raw_output_contents", "bytes*"),
    ),
}
"""Fields of each message: number, name and type. "*" marks a list, "?" one of several fields of which at most one is set."""

CONTAINERS: dict[str, dict[int, str]] = {
    message: {number: kind.rstrip("*") for number, _, kind in fields if kind.rstrip("*") in FIELDS}
    for message, fields in FIELDS.items()
}
"""Name of a message -> number of a field -> name of the message that the field holds; other fields are left out."""

_F = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _F.TYPE_BOOL,
    "int32": _F.TYPE_INT32,
    "int64": _F.TYPE_INT64,
    "uint64": _F.TYPE_UINT64,
    "double": _F.TYPE_DOUBLE,
    "float": _F.TYPE_FLOAT,
    "string": _F.TYPE_STRING,
    "bytes": _F.TYPE_BYTES,
}


def _classes() -> dict[str, Any]:
    """Returns the class of each message of `FIELDS`, by its name."""
    file = descriptor_pb2.FileDescriptorProto(name="hubserve_inference.proto", package=PACKAGE, syntax="proto3")
    for message, fields in FIELDS.items():
        described = file.message_type.add(name=message)
        for number, name, kind in fields:
            base = kind.rstrip("*?")
            field = described.field.add(number=number, name=name)
            field.label = _F.LABEL_REPEATED if kind.endswith("*") else _F.LABEL_OPTIONAL
            if base in _TYPES:
                field.type = _TYPES[base]
            else:
                field.type, field.type_name = _F.TYPE_MESSAGE, f".{PACKAGE}.{base}"
            if kind.endswith("?"):
                field.oneof_index = 0
        if any(kind.endswith("?") for _, _, kind in fields):
            described.oneof_decl.add(name="choice")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    found = {name: pool.FindMessageTypeByName(f"{PACKAGE}.{name}") for name in FIELDS}  # type: ignore[no-untyped-call]
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


MESSAGES: dict[str, Any] = _classes()
"""The class of each message, by its name."""
