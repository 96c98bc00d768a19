"""When a request is sent again: the header Retry-After in all its kinds, statuses, errors and limits."""

from __future__ import annotations

import time
from email.utils import formatdate

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.client.retries import Retries, retry_after_seconds

RETRIES = Retries(most=3, longest_wait_seconds=10.0)


def refusal(status: int = 503, **headers: str) -> httpx2.Response:
    return httpx2.Response(status, headers={name.replace("_", "-"): value for name, value in headers.items()})


@given(st.text())
def test_any_header_is_read_or_passed_over(text):
    found = retry_after_seconds(text)
    assert found is None or found >= 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("9" * 400, 1e20),
    ],
)
def test_seconds(text, seconds):
    assert retry_after_seconds(text) == (None if seconds is None else pytest.approx(seconds))


def test_dates():
    assert retry_after_seconds(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=5)
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_seconds("Wed, 99 Oct 2015 07:28:00 GMT") is None


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_no_wait_is_shorter_than_asked_for(status):
    for _ in range(100):
        wait = RETRIES.wait_seconds(1, refusal(status, retry_after="4"))
        assert 4 <= wait <= 4.4
    # Where the service asks for the longest wait, it is that, for all clients.
    assert RETRIES.wait_seconds(1, refusal(status, retry_after="10")) == 10


@pytest.mark.parametrize("status", [200, 400, 401, 404, 408, 413, 415, 422, 500])
def test_other_answers_are_final(status):
    assert RETRIES.wait_seconds(1, refusal(status, retry_after="1")) is None


def test_waits_double_and_have_a_limit():
    many = Retries(most=20, longest_wait_seconds=3.0)
    waits = [many.wait_seconds(attempts, refusal()) for attempts in range(1, 9)]
    for wait, least in zip(waits, (0.25, 0.5, 1, 2, 3, 3, 3, 3), strict=True):
        assert least <= wait <= min(1.1 * least, 3.0)


def test_the_last_attempt_is_final():
    assert RETRIES.wait_seconds(3, refusal()) is not None
    assert RETRIES.wait_seconds(4, refusal()) is None
    assert RETRIES.wait_seconds(1, refusal(retry_after="11")) is None
    assert RETRIES.wait_seconds(1, refusal(retry_after="10")) is not None


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (httpx2.ConnectError, True),
        (httpx2.ReadError, True),
        (httpx2.RemoteProtocolError, True),
        (httpx2.ReadTimeout, False),
        (httpx2.ConnectTimeout, False),
        (httpx2.UnsupportedProtocol, False),
    ],
)
def test_errors(error, repeated):
    assert (RETRIES.wait_seconds(1, error("...")) is not None) == repeated
