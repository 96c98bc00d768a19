"""Which error ended a training in several processes."""

from __future__ import annotations

import pytest
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from hubserve.errors import DivergedError, EvaluatorError, JobError, TrialPruned
from hubserve.training import process_failures
from hubserve.training.process_failures import ProcessFailures

KILLED = ProcessExitedException("killed", error_index=1, error_pid=7, exit_code=-9, signal_name="SIGKILL")
RAISED = ProcessRaisedException("\n-- Process 0 failed:\nTraceback\nOSError: away\n", 0, 7)


@pytest.fixture
def failures(tmp_path, monkeypatch) -> ProcessFailures:
    monkeypatch.setattr(process_failures, "GRACE_SECONDS", 0.0)
    return ProcessFailures(tmp_path)


def test_an_error_of_ours_comes_back_as_what_it_was(failures):
    failures.record(0, RuntimeError("Connection closed by peer"))
    failures.record(1, DivergedError("the loss is nan"))
    found = failures.cause(RAISED)
    assert type(found) is DivergedError
    assert str(found) == "the loss is nan"


def test_of_several_that_of_the_first_process(failures):
    failures.record(1, TrialPruned("ended after epoch 3"))
    failures.record(0, TrialPruned("worse than others"))
    assert str(failures.cause(RAISED)) == "worse than others"


def test_of_other_errors_the_first_one(failures):
    failures.record(1, MemoryError("no memory"))
    failures.record(0, RuntimeError("Connection closed by peer"))
    found = failures.cause(RAISED)
    assert type(found) is EvaluatorError
    assert str(found) == "process 1 of a training on several devices failed: MemoryError: no memory"


def test_a_process_that_was_killed(failures):
    failures.record(0, RuntimeError("Connection closed by peer"))
    assert "process 1 of a training on several devices was ended by SIGKILL" in str(failures.cause(KILLED))


def test_nothing_recorded(failures):
    assert str(failures.cause(RAISED)).endswith("failed: OSError: away")
    left = ProcessExitedException("ended", error_index=1, error_pid=7, exit_code=3)
    assert "was ended by exit code 3" in str(failures.cause(left))


class OddError(JobError):
    """Cannot be made from its message alone."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(f"{message} {number}")


def test_an_error_that_pickle_cannot_copy_has_its_text(failures):
    failures.record(0, OddError("odd", 3))
    assert str(failures.cause(RAISED)) == "process 0 of a training on several devices failed: OddError: odd 3"
