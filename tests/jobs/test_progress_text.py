"""What a job's log says: each trial and message once, counts now and then."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hubserve.jobs import progress_text
from hubserve.jobs.progress_text import ProgressLines
from hubserve.jobs.status import JobStatus, PartTime, TrialRow, estimated_total

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def status(message: str, phase: str = "fine-tune", **others: object) -> JobStatus:
    return JobStatus(id="j", name="n", state="running", created=NOW, updated=NOW, message=message, phase=phase, **others)


@pytest.fixture
def lines(capsys):
    """The function writes statuses and returns the lines on stderr."""
    progress = ProgressLines()

    def write(*statuses: JobStatus) -> list[str]:
        for one in statuses:
            progress.write(one)
        return capsys.readouterr().err.splitlines()

    return write


def test_each_message_once(lines):
    assert lines(status("a"), status("a"), status("b")) == ["[fine-tune] a", "[fine-tune] b"]


def test_epochs_are_all_written(lines):
    assert len(lines(*(status(f"epoch {i}: val_acc 0.5") for i in range(5)))) == 5


def test_of_a_count_only_some_lines(lines, monkeypatch):
    assert lines(*(status(f"features: {i} of 500 images") for i in range(1, 500))) == ["[fine-tune] features: 1 of 500 images"]
    monkeypatch.setattr(progress_text, "SECONDS_BETWEEN_COUNTS", 0.0)
    assert lines(status("features: 500 of 500 images")) == ["[fine-tune] features: 500 of 500 images"]


def test_another_count_begins_at_once(lines):
    assert (
        len(lines(status("features: 1 of 5 images"), status("testing: 1 of 5 images"), status("features: 2 of 5 images"))) == 3
    )


def test_trials_have_lines_of_their_own(lines):
    row = TrialRow(number=0, values={"val_acc": 0.5}, state="complete")
    assert lines(status("1 of 3 trials ended", "search", history=[row])) == ["trial 0: val_acc 0.5000"]


def test_estimated_times_in_one_line():
    assert progress_text.estimate_text(status("a")) == ""
    times = [
        PartTime(part="check", seconds=1.0),
        PartTime(part="features", estimated=1.26),
        PartTime(part="fine-tune", estimated=600.0, seconds=5.0),
        PartTime(part="export", estimated=6000.0),
    ]
    total = estimated_total(times)
    assert total == 6600.0
    text = progress_text.estimate_text(status("a", times=times, estimated_seconds=total))
    assert text == "estimated: features 1.3 s, fine-tune 10 min, export 1.7 h; 1.8 h in all"
    assert estimated_total(times[:1]) is None
