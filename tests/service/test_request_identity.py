"""Ids and traces of requests: the client's where they are well-formed, random ones elsewhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.service.request_identity import identify

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_those_of_the_client_are_kept():
    found = identify([(b"host", b"x"), (b"x-request-id", b"order/7:a=b+c@d.e_f-g"), (b"traceparent", TRACE)])
    assert found.id == "order/7:a=b+c@d.e_f-g"
    assert found.headers == [(b"x-request-id", found.id.encode()), (b"traceparent", TRACE)]


def test_without_any_each_request_has_another_id():
    ids = {identify([(b"host", b"x")]).id for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert [name for name, _ in identify([]).headers] == [b"x-request-id"]


@pytest.mark.parametrize("value", [b"", b"a b", b"a\nb", b"x" * 129, b"\xff", b"<b>", b'"', b"a\n"])
def test_ids_that_would_spoil_a_log_are_replaced(value):
    assert identify([(b"x-request-id", value)]).id.encode() != value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        TRACE.replace(b"00-", b"ff-"),
        TRACE.upper(),
        TRACE + b"-",
    ],
)
def test_traces_that_are_not_valid_are_ignored(value):
    assert identify([(b"traceparent", value)]).traceparent is None


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_whatever_is_sent_the_answer_can_be(request_id, trace):
    for name, value in identify([(b"x-request-id", request_id), (b"traceparent", trace)]).headers:
        assert re.fullmatch(rb"[!-~]{1,128}", value), name
