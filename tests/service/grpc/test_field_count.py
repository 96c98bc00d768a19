"""The number of fields of a message of protobuf is bounded before the message is parsed."""

from __future__ import annotations

import time

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import TensorError
from hubserve.service.grpc.field_count import MOST_FIELDS, check_field_count
from hubserve.service.grpc.infer_codec import read_message
from hubserve.service.grpc.messages import FIELDS, MESSAGES

NAMES = sorted(FIELDS)


def request(contents: int = 0, raw: int = 0, parameters: int = 0) -> bytes:
    """An encoded request with these numbers of elements."""
    message = MESSAGES["ModelInferRequest"](raw_input_contents=[b""] * raw)
    message.inputs.add().contents.bytes_contents.extend([b""] * contents)
    for _ in range(parameters):
        message.outputs.add().parameters.add().value.bool_param = True
    return message.SerializeToString()


@pytest.mark.parametrize("where", ["contents", "raw", "parameters"])
def test_many_fields_are_refused_at_any_depth(where):
    each = 4 if where == "parameters" else 1  # An output, its parameter, the value, and the bool in it.
    fits = (MOST_FIELDS - 2) // each
    check_field_count(request(**{where: fits}), "ModelInferRequest")
    with pytest.raises(TensorError, match="more than 10,000 fields"):
        check_field_count(request(**{where: fits + 1}), "ModelInferRequest")


def test_ten_million_are_refused_as_fast_as_ten_thousand():
    body = b"\x3a\x00" * 10_000_000
    start = time.process_time()
    with pytest.raises(TensorError, match="more than 10,000 fields"):
        check_field_count(body, "ModelInferRequest")
    assert time.process_time() - start < 2, "all of them take 10 s"


def test_a_list_of_numbers_is_one_field():
    message = MESSAGES["ModelInferRequest"]()
    message.inputs.add().contents.fp32_contents.extend([0.5] * 100_000)
    check_field_count(message.SerializeToString(), "ModelInferRequest")


@given(st.sampled_from(NAMES), st.binary(max_size=200))
def test_whatever_is_refused_or_read(name, body):
    """And what protobuf can read is not refused: of so few bytes none has too many fields."""
    try:
        MESSAGES[name].FromString(body)
    except DecodeError:
        with pytest.raises(TensorError):
            read_message(body, name)
    else:
        try:
            read_message(body, name)
        except TensorError as error:
            refusal = str(error)
            assert refusal.endswith(("of protobuf", "within a field"))
