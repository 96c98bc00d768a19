"""Writes the status of a job as text for a terminal or log: scores, remaining time, a line for each new trial and message."""

import re
import sys
import time

from hubserve.jobs.status import JobStatus, TrialRow

SECONDS_BETWEEN_COUNTS = 15.0
"""Smallest number of seconds between two lines with the same count, such as "128 of 500 images"."""


class ProgressLines:
    """Prints what is new in the successive statuses of a job on stderr: ended trials and new messages, one a line.

    Messages that differ only in their numbers, such as "128 of 500 images", are printed at most every `SECONDS_BETWEEN_COUNTS`,
    and those that count the trials of a search are not printed.
    """

    def __init__(self) -> None:
        self._trials: set[int] = set()
        self._message = ""
        self._counted = ""
        self._counted_at = 0.0

    def write(self, status: JobStatus) -> None:
        """Prints the trials that ended, and the message if it changed, since the last call."""
        for row in status.history:
            if row.number not in self._trials and row.state != "running":
                self._trials.add(row.number)
                print(f"trial {row.number}: {values_text(row.values)}  {remark(row)}".rstrip(), file=sys.stderr, flush=True)
        if status.message and status.message != self._message and not self._is_too_soon(status):
            print(f"[{status.phase or status.state}] {status.message}", file=sys.stderr, flush=True)
        self._message = status.message

    def _is_too_soon(self, status: JobStatus) -> bool:
        """Returns True if the message is not printed, because it counts trials or repeats a count that was printed recently."""
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
    """Returns scores with their names on one line, such as "val_acc 0.9312  params 12,345"."""
    return "  ".join(f"{name} {value_text(name, value)}" for name, value in values.items())


def value_text(name: str, value: float) -> str:
    """Returns a score as text: a whole number for "params" and "macs", 2 decimals for "latency_ms", and 4 for other scores."""
    if name in ("params", "macs"):
        return f"{value:,.0f}"
    return f"{value:.2f}" if name == "latency_ms" else f"{value:.4f}"


def estimate_text(status: JobStatus) -> str:
    """Returns the estimated durations of the parts of a job and their sum in one line; empty if nothing is estimated."""
    if status.estimated_seconds is None:
        return ""
    parts = [f"{time.part} {duration_text(time.estimated)}" for time in status.times if time.estimated is not None]
    return f"estimated: {', '.join(parts)}; {duration_text(status.estimated_seconds)} in all"


def duration_text(seconds: float) -> str:
    """Returns a duration with its unit: seconds below 90 s, minutes below 90 min, and hours above."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def eta_text(seconds: float | None) -> str:
    """Returns the remaining time as text, such as "about 5 min left"; an empty string if `seconds` is None."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


def remark(row: TrialRow) -> str:
    """Returns the state of a trial that is not complete, with the reason if there is one; an empty string if it is complete."""
    return "" if row.state == "complete" else f"{row.state}: {row.reason}" if row.reason else row.state
