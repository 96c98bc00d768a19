"""Measures how long an experiment has been running, over all its runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from optuna import Study

from hubserve.experiment.trial_record import ATTEMPTS, SPENT_SECONDS

SUPERNET_SECONDS = "supernet_seconds"
"""User attribute of a study: number of seconds spent training a supernet, over all runs."""

NOTE_SECONDS = 10.0
"""Number of seconds between two updates of `SUPERNET_SECONDS` while a supernet is trained."""


@contextmanager
def supernet_clock(study: Study) -> Iterator[Callable[[], None]]:
    """Context manager that adds the time spent in its block to the study's attribute `SUPERNET_SECONDS`.

    Call the function that it yields after each step: it updates the study every `NOTE_SECONDS`, so that little is lost if the
    process is killed.
    """
    before = float(study.user_attrs.get(SUPERNET_SECONDS, 0.0))
    began = noted = time.monotonic()

    def note() -> None:
        nonlocal noted
        noted = time.monotonic()
        study.set_user_attr(SUPERNET_SECONDS, before + noted - began)

    try:
        yield lambda: note() if time.monotonic() - noted >= NOTE_SECONDS else None
    finally:
        note()


class TrialClock:
    """Measures trials, which may run at the same time, by a clock that nobody sets."""

    def __init__(self) -> None:
        self._begun: dict[int, float] = {}
        self._counted = 0.0

    def begin(self, number: int, at: float) -> None:
        """Notes that trial `number` began at the time `at` of `time.monotonic`."""
        if not self._begun:
            self._counted = at
        self._begun[number] = at

    def seconds(self, number: int) -> float | None:
        """Returns the seconds since trial `number` began; None if it was not begun here, or has ended."""
        began = self._begun.get(number)
        return None if began is None else time.monotonic() - began

    def end(self, number: int) -> tuple[float, float] | None:
        """Ends trial `number`; None if it was not begun here.

        Returns:
            Its duration in seconds, and the seconds in which any trial ran that no earlier call has returned.
        """
        began, now = self._begun.pop(number, None), time.monotonic()
        if began is None:
            return None
        spent, self._counted = now - self._counted, now
        return now - began, spent


def seconds_spent(study: Study) -> float:
    """Returns the seconds, over all runs, in which a supernet was trained or at least one trial that has ended was running.

    Trials of earlier versions are measured by their stored times, unless they were begun again after a crash: the stored start
    is that of the first attempt.
    """
    trials = study.get_trials(deepcopy=False)
    total = float(study.user_attrs.get(SUPERNET_SECONDS, 0.0))
    total += sum(float(trial.user_attrs.get(SPENT_SECONDS, 0.0)) for trial in trials)
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_start is not None and trial.datetime_complete is not None
        if ATTEMPTS not in trial.user_attrs and SPENT_SECONDS not in trial.user_attrs
    )
    until = datetime.min
    for start, end in spans:
        if end > max(start, until):  # Where the clock was set back during a trial, its end lies before its start.
            total += (end - max(start, until)).total_seconds()
            until = end
    return total
