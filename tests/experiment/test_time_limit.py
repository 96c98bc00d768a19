"""The time limit of an evaluation."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from hubserve.errors import ExperimentError
from hubserve.experiment import NasExperiment
from hubserve.experiment.time_limit import TrialTimeout, not_interrupted, time_limit
from hubserve.strategy import Random
from tests.experiment.small import Small, Value


def test_it_interrupts_a_wait_and_leaves_the_signal_as_it_was():
    before = signal.getsignal(signal.SIGALRM)
    began = time.monotonic()
    with pytest.raises(TrialTimeout), time_limit(0.1, own_process=False):
        threading.Lock().acquire() and time.sleep(60)
    assert time.monotonic() - began < 30
    assert signal.getsignal(signal.SIGALRM) is before
    with time_limit(60, own_process=False):
        pass
    assert signal.getitimer(signal.ITIMER_REAL)[0] < 301  # That of pytest-timeout, or none.


def test_what_must_not_be_interrupted_is_ended_after_it():
    done = []

    def write():
        with not_interrupted():
            end = time.monotonic() + 0.3
            while time.monotonic() < end:
                time.sleep(0.01)
            done.append("written")
        done.append("after")

    with pytest.raises(TrialTimeout), time_limit(0.1, own_process=False):
        write()
    assert done == ["written"]


def test_a_timer_that_ran_before_goes_on():
    seen = []
    handler, timer = signal.signal(signal.SIGALRM, lambda *_: seen.append(1)), signal.setitimer(signal.ITIMER_REAL, 0.4)
    try:
        with time_limit(60, own_process=False):
            time.sleep(0.05)
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        assert 0 < left <= 0.35
        time.sleep(left + 0.2)
        assert seen == [1]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def test_only_the_main_thread_can_be_interrupted(tmp_path):
    refused = []

    def run():
        try:
            NasExperiment(Small(), Value(), Random(), max_trials=1, max_trial_seconds=1, folder=tmp_path).run()
        except ExperimentError as error:
            refused.append(str(error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "main thread" in refused[0]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_limit_is_above_0(seconds, tmp_path):
    with pytest.raises(ExperimentError, match="max_trial_seconds"):
        NasExperiment(Small(), Value(), Random(), max_trial_seconds=seconds, folder=tmp_path)
