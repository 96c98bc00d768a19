"""Decides whether a request to the service is sent again, and after how many seconds."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx2

RETRIED = (429, 502, 503, 504)
"""Statuses of answers that say that the same request may succeed later; 502 and 504 are those of proxies."""

FIRST_WAIT = 0.25
"""Seconds before the second attempt, where the answer has no Retry-After; each further wait is twice as long."""


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again, and how long the client waits before that.

    Attributes:
        most: Largest number of further attempts, at least 0.
        longest_wait_seconds: Longest wait in seconds before an attempt. Where the service asks for a longer one, its answer is
            final.
    """

    most: int
    longest_wait_seconds: float

    def wait_seconds(self, attempts: int, outcome: httpx2.Response | httpx2.HTTPError) -> float | None:
        """Returns the number of seconds to wait before the next attempt; None where the outcome is final.

        An answer with one of the statuses RETRIED, a refused connection and a connection that breaks off are no final outcomes,
        unless there were `most` further attempts or the answer asks for a longer wait than `longest_wait_seconds`; a timeout is
        one. Up to 10 % are added to the wait at random, within `longest_wait_seconds`.

        Args:
            attempts: Number of attempts so far, at least 1.
            outcome: Answer to the last one, or the error that there was in its place.
        """
        if attempts > self.most or not _may_succeed_later(outcome):
            return None
        asked = retry_after_seconds(outcome.headers.get("retry-after", "")) if isinstance(outcome, httpx2.Response) else None
        # Of many clients that were refused at the same moment, not all ask again at the same moment.
        jitter = random.uniform(1.0, 1.1)
        if asked is None:
            return min(FIRST_WAIT * 2.0 ** (attempts - 1) * jitter, self.longest_wait_seconds)
        if asked > self.longest_wait_seconds:
            return None
        return max(asked, min(asked * jitter, self.longest_wait_seconds))


def retry_after_seconds(text: str) -> float | None:
    """Returns the seconds that a header Retry-After asks to wait, at least 0; None if it is neither a number nor a date.

    Args:
        text: Value of the header: seconds, or a date of HTTP.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:20])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _may_succeed_later(outcome: httpx2.Response | httpx2.HTTPError) -> bool:
    if isinstance(outcome, httpx2.Response):
        return outcome.status_code in RETRIED
    return isinstance(outcome, httpx2.NetworkError | httpx2.RemoteProtocolError)
