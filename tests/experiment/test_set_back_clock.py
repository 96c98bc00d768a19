"""A clock that is set back during a run makes durations neither negative nor shorter."""

import time
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest

from hubserve.evaluator import Trial
from hubserve.experiment import NasExperiment, ProcessExecutor
from hubserve.experiment.time_spent import TrialClock, seconds_spent
from hubserve.experiment.trial_record import record_of
from hubserve.space import Arch, ModelSpace
from hubserve.strategy import Random
from tests.experiment.small import Small, Value

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


class Naps(Value):
    """Takes 0.1 s for each arch."""

    def evaluate(self, space: ModelSpace, arch: Arch, trial: Trial) -> dict[str, float]:
        time.sleep(0.1)
        return super().evaluate(space, arch, trial)


class BackwardClock(datetime):
    """Is set back by an hour at each look at it."""

    looks = 0

    @classmethod
    def now(cls, tz=None):
        cls.looks += 1
        return datetime.now(tz) - timedelta(hours=cls.looks)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_durations_of_a_search_are_whole(workers, tmp_path, monkeypatch):
    monkeypatch.setattr("optuna.storages.journal._storage.datetime", BackwardClock)
    executor = ProcessExecutor(workers) if workers > 1 else None
    experiment = NasExperiment(
        Small(), Naps(), Random(seed=0), max_trials=6, folder=tmp_path, name="back", executor=executor, seed=0, progress=False
    )
    began = time.monotonic()
    experiment.run()
    took = time.monotonic() - began
    durations = [trial.seconds for trial in experiment.trials]
    assert all(0.1 <= seconds <= took for seconds in durations)
    assert 0.6 / workers <= seconds_spent(experiment.study) <= took
    # A run that goes on adds to it, and a limit that is used up is noticed.
    again = NasExperiment(
        Small(), Naps(), Random(seed=0), max_seconds=0.2, folder=tmp_path, name="back", seed=0, progress=False
    )
    assert again.run() == "the time is over"
    assert len(again.trials) == 6


def test_durations_of_trials_that_overlap(monkeypatch):
    now = 0.0
    monkeypatch.setattr("hubserve.experiment.time_spent.time.monotonic", lambda: now)
    clock = TrialClock()
    clock.begin(0, 0.0)
    clock.begin(1, 2.0)
    now = 3.0
    assert clock.end(1) == (1.0, 3.0)
    now = 10.0
    assert clock.end(0) == (10.0, 7.0)
    clock.begin(2, 20.0)  # Nothing ran from 10 to 20.
    now = 21.0
    assert clock.end(2) == (1.0, 1.0)
    assert clock.end(3) is None
