"""Measures how long an experiment has been running, over all its runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from optuna import Study

from hubserve.experiment.trial_record import ATTEMPTS

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


def seconds_spent(study: Study) -> float:
    """Returns the seconds, over all runs, in which a supernet was trained or at least one trial that has ended was running.

    Trials that were begun again after a crash are left out, because their stored start is that of the first attempt.
    """
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in study.get_trials(deepcopy=False)
        if trial.datetime_start is not None and trial.datetime_complete is not None and ATTEMPTS not in trial.user_attrs
    )
    total, until = float(study.user_attrs.get(SUPERNET_SECONDS, 0.0)), datetime.min
    for start, end in spans:
        if end > max(start, until):  # Where the clock was set back during a trial, its end lies before its start.
            total += (end - max(start, until)).total_seconds()
            until = end
    return total
