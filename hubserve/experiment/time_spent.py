"""How long an experiment has been running, over all its runs."""

from __future__ import annotations

import time
from datetime import datetime

from optuna import Study

from hubserve.experiment.trial_record import ATTEMPTS

SUPERNET_SECONDS = "supernet_seconds"
"""User attribute of a study: seconds for which a supernet was trained, over all runs."""

NOTE_SECONDS = 10.0
"""Seconds between two updates of `SUPERNET_SECONDS` while a supernet is trained."""


class SupernetClock:
    """Adds the time a supernet is trained to the study's `SUPERNET_SECONDS`, every few seconds, so that a kill loses little.

    Args:
        study: Study of the experiment.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._before = float(study.user_attrs.get(SUPERNET_SECONDS, 0.0))
        self._began = self._noted = time.monotonic()

    def __enter__(self) -> SupernetClock:
        return self

    def __exit__(self, *error: object) -> None:
        self._note()

    def tick(self) -> None:
        """To be called after each step; updates the study every `NOTE_SECONDS`."""
        if time.monotonic() - self._noted >= NOTE_SECONDS:
            self._note()

    def _note(self) -> None:
        self._noted = time.monotonic()
        self._study.set_user_attr(SUPERNET_SECONDS, self._before + self._noted - self._began)


def seconds_spent(study: Study) -> float:
    """Seconds over all runs in which a supernet was trained or at least one trial, now finished, was evaluated.

    Trials that were begun again after a crash are left out: their start is that of the first attempt.
    """
    spans = sorted(
        (trial.datetime_start, trial.datetime_complete)
        for trial in study.get_trials(deepcopy=False)
        if trial.datetime_start is not None and trial.datetime_complete is not None and ATTEMPTS not in trial.user_attrs
    )
    total, until = float(study.user_attrs.get(SUPERNET_SECONDS, 0.0)), datetime.min
    for start, end in spans:
        if end > until:
            total += (end - max(start, until)).total_seconds()
            until = end
    return total
