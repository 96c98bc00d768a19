"""A clock that is set back during a run makes no negative durations."""

from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest

from hubserve.experiment.time_spent import seconds_spent
from hubserve.experiment.trial_record import record_of
from tests.experiment.small import Small

NOON = datetime(2026, 1, 1, 12)


def trial(start: datetime, end: datetime) -> optuna.trial.FrozenTrial:
    found = optuna.create_trial(state=optuna.trial.TrialState.FAIL)
    found.datetime_start, found.datetime_complete = start, end
    return found


def test_a_trial_that_ends_before_it_starts():
    record = record_of(trial(NOON, NOON - timedelta(hours=1)), Small(), [], Path("trial"))
    assert record.seconds == 0


@pytest.mark.parametrize("set_back", [timedelta(minutes=30), timedelta(days=400)])
def test_seconds_of_a_run(set_back):
    study = optuna.create_study()
    study.add_trial(trial(NOON, NOON + timedelta(seconds=60)))
    study.add_trial(trial(NOON + timedelta(seconds=60), NOON + timedelta(seconds=90) - set_back))
    study.add_trial(trial(NOON + timedelta(seconds=90) - set_back, NOON + timedelta(seconds=100) - set_back))
    assert 60 <= seconds_spent(study) <= 100
