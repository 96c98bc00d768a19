"""How a running job looks, on a terminal and in a log."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from hubserve.cli.job_progress import progress_view, show_progress
from hubserve.jobs import Best, JobStatus, ObjectiveInfo, TrialRow
from hubserve.jobs.progress_text import eta_text, value_text

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FIRST = JobStatus(id="j-1", name="my [job]", state="running", created=NOW, updated=NOW, max_trials=20, message="searching")
ROWS = [
    TrialRow(number=0, values={"val_acc": 0.5, "params": 12345.0}, state="complete", seconds=2.0),
    TrialRow(number=1, values={}, state="failed", reason="ValueError: no"),
    TrialRow(number=2, values={}, state="infeasible", reason="params = 9 misses params <= 8 by 12.5%"),
]
LATER = FIRST.model_copy(
    update={
        "phase": "search",
        "trials": 2,
        "eta_seconds": 36.0,
        "history": ROWS,
        "objectives": [ObjectiveInfo(name="val_acc", direction="maximize")],
        "best": Best(number=0, values=ROWS[0].values, arch={}),
        "message": "2 trials ended",
    }
)


def seen(status: JobStatus) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(progress_view(status))
    return console.export_text()


def test_on_a_terminal():
    assert "my [job]  running  searching" in seen(FIRST)
    said = seen(LATER)
    for text in ("2/20", "about 36 s left", "val_acc 0.5000  params 12,345  (trial 0)", "ValueError: no", "misses params"):
        assert text in said
    assert "it broke" in seen(LATER.model_copy(update={"state": "failed", "error": "it broke"}))


def test_only_the_last_trials():
    rows = [TrialRow(number=100 + i, values={"val_acc": 0.5}, state="complete") for i in range(30)]
    said = seen(LATER.model_copy(update={"history": rows}))
    assert "129" in said
    assert "122" in said
    assert "121" not in said


def test_in_a_log_each_thing_is_said_once(capsys):
    with show_progress() as show:
        for status in (FIRST, LATER, LATER, LATER.model_copy(update={"phase": "export", "message": "exporting"})):
            show(status)
    assert capsys.readouterr().err.splitlines() == [
        "[running] searching",
        "trial 0: val_acc 0.5000  params 12,345",
        "trial 1:   failed: ValueError: no",
        "trial 2:   infeasible: params = 9 misses params <= 8 by 12.5%",
        "[export] exporting",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.2, "about 1 s left"), (89, "about 89 s left"), (600, "about 10 min left"), (9000, "about 2.5 h left")],
)
def test_time_in_words(seconds, text):
    assert eta_text(seconds) == text


@pytest.mark.parametrize(
    ("name", "value", "text"), [("macs", 3e8, "300,000,000"), ("latency_ms", 1.234, "1.23"), ("val_acc", 0.5, "0.5000")]
)
def test_values(name, value, text):
    assert value_text(name, value) == text
