"""The status of a job as text: scores, times, and a log line for each new trial and message."""

import re
import sys
import time

from hubserve.jobs.status import JobStatus, TrialRow

SECONDS_BETWEEN_COUNTS = 15.0
"""Least time between two lines about the same count, such as "128 of 500 images"."""


class ProgressLines:
    """Writes what is new in each status to stderr, one line for each trial and message.

    Messages that count the same things, such as "128 of 500 images", are written at most every `SECONDS_BETWEEN_COUNTS`.
    """

    def __init__(self) -> None:
        self._trials: set[int] = set()
        self._message = ""
        self._counted = ""
        self._counted_at = 0.0

    def write(self, status: JobStatus) -> None:
        """Writes what is new since the last call."""
        for row in status.history:
            if row.number not in self._trials and row.state != "running":
                self._trials.add(row.number)
                print(f"trial {row.number}: {values_text(row.values)}  {remark(row)}".rstrip(), file=sys.stderr, flush=True)
        if status.message and status.message != self._message and not self._is_too_soon(status):
            print(f"[{status.phase or status.state}] {status.message}", file=sys.stderr, flush=True)
        self._message = status.message

    def _is_too_soon(self, status: JobStatus) -> bool:
        """Whether the message only repeats, with other numbers, a count that was written a short time ago."""
        if status.phase == "search" and "trials ended" in status.message:  # Each trial has a line of its own.
            return True
        if not re.search(r"\d+ of \d+", status.message):
            return False
        counted, now = re.sub(r"\d+", "#", status.message), time.monotonic()
        if counted == self._counted and now - self._counted_at < SECONDS_BETWEEN_COUNTS:
            return True
        self._counted, self._counted_at = counted, now
        return False


def values_text(values: dict[str, float]) -> str:
    """Scores with their names, on one line."""
    return "  ".join(f"{name} {value_text(name, value)}" for name, value in values.items())


def value_text(name: str, value: float) -> str:
    """One score, with as many digits as its name asks for."""
    if name in ("params", "macs"):
        return f"{value:,.0f}"
    return f"{value:.2f}" if name == "latency_ms" else f"{value:.4f}"


def eta_text(seconds: float | None) -> str:
    """The time that is left, in words; empty if it is unknown."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


def remark(row: TrialRow) -> str:
    """Why a trial is not complete; empty if it is."""
    return "" if row.state == "complete" else f"{row.state}: {row.reason}" if row.reason else row.state
