"""Images of a search: drawn when there is something to draw, the same for the same record, and of what it says."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.accuracy_from_logits import accuracy_report
from hubserve.errors import ExperimentError
from hubserve.jobs import Best, EpochRow, JobStatus, LabelProbabilities, ObjectiveInfo, OneShotView, TrialRow
from hubserve.pipeline.front import front_of
from hubserve.pipeline.plots import plot, plot_names

ACCURACY, LATENCY = ObjectiveInfo(name="val_acc", direction="maximize"), ObjectiveInfo(name="latency_ms", direction="minimize")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
EMPTY = JobStatus(id="job-1", name="my job", state="running", created=NOW, updated=NOW, objectives=[ACCURACY])


def row(number: int, accuracy: float, latency: float) -> TrialRow:
    values = {"val_acc": accuracy, "latency_ms": latency}
    return TrialRow(number=number, values=values, state="complete", seconds=1.0)


ROWS = [
    row(0, 0.5, 3),
    TrialRow(number=1, values={}, state="failed"),
    TrialRow(number=2, values={"latency_ms": 20.0}, state="infeasible"),
    row(3, 0.7, 5),
    row(4, 0.6, 7),
]
SEARCHED = EMPTY.model_copy(
    update={
        "objectives": [ACCURACY, LATENCY],
        "history": ROWS,
        "best": Best(number=3, values=ROWS[3].values, arch={}),
    }
)


def view(n_labels: int, candidates: int = 3) -> OneShotView:
    """Each label comes to prefer its first candidate, the later ones more."""
    steps = [0, 10, 20]
    labels = {}
    for place in range(n_labels):
        first = [1 / candidates + place / (2 * n_labels) * step / 20 for step in steps]
        rows = [[p, *[(1 - p) / (candidates - 1)] * (candidates - 1)] for p in first]
        labels[f"op_{place:02}"] = LabelProbabilities(candidates=[f"c{i}" for i in range(candidates)], probabilities=rows)
    return OneShotView(steps=steps, labels=labels)


def words(path) -> str:
    """All text of an SVG file, which must be well-formed."""
    return " | ".join(text.strip() for text in ElementTree.parse(path).getroot().itertext() if text.strip())


def test_nothing_to_draw_yet():
    assert plot_names(EMPTY) == []
    assert plot_names(EMPTY.model_copy(update={"history": ROWS[1:2]})) == []
    assert plot_names(EMPTY.model_copy(update={"oneshot": OneShotView()})) == []


def test_one_objective_is_drawn_against_a_cost_that_was_noted():
    assert plot_names(EMPTY.model_copy(update={"history": ROWS})) == ["best", "pareto"]
    alone = TrialRow(number=0, values={"val_acc": 0.5}, state="complete")
    assert plot_names(EMPTY.model_copy(update={"history": [alone]})) == ["best"]


def test_what_the_best_says(tmp_path):
    plot(SEARCHED, "best", tmp_path / "best.svg")
    said = words(tmp_path / "best.svg")
    for text in ("my job: best validation accuracy so far", "best so far", "refused by a constraint", "failed or pruned"):
        assert text in said


def test_the_best_so_far_is_a_staircase_over_the_trials_with_a_score(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    monkeypatch.setattr(Axes, "step", lambda self, xs, ys, **kwargs: drawn.append((list(xs), list(ys))))
    plot(SEARCHED, "best", tmp_path / "best.svg")
    assert drawn == [([0, 3, 4, 4], [0.5, 0.7, 0.7, 0.7])]


def test_what_the_pareto_image_says(tmp_path):
    plot(SEARCHED, "pareto", tmp_path / "pareto.svg", limits={"latency_ms": 8})
    said = words(tmp_path / "pareto.svg")
    for text in ("validation accuracy against latency (ms)", "Pareto front", "at most 8", "chosen"):
        assert text in said


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12), st.booleans(), st.booleans())
def test_the_front_is_the_one_by_definition(points, cost_down, score_up):
    cost = ObjectiveInfo(name="c", direction="minimize" if cost_down else "maximize")
    score = ObjectiveInfo(name="s", direction="maximize" if score_up else "minimize")
    sign = (1 if cost_down else -1, -1 if score_up else 1)
    as_losses = [tuple(s * v for s, v in zip(sign, point, strict=True)) for point in points]
    undominated = {p for p in as_losses if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in as_losses)}
    front = front_of(dict(enumerate(points)), cost, score)
    assert {as_losses[number] for number in front} == undominated
    assert len(front) == len(undominated)
    assert all(as_losses[a][0] < as_losses[b][0] for a, b in itertools.pairwise(front))


def test_probabilities_have_a_panel_a_choice(tmp_path):
    plot(EMPTY.model_copy(update={"oneshot": view(6)}), "probabilities", tmp_path / "p.svg")
    said = words(tmp_path / "p.svg")
    assert all(f"op_{place:02}" in said for place in range(6))
    assert said.count("c0") == 1  # one legend where all choices have the same candidates


def test_of_many_choices_those_that_changed_most(tmp_path, monkeypatch):
    monkeypatch.setattr("hubserve.pipeline.plots.MOST_LABELS", 3)
    plot(EMPTY.model_copy(update={"oneshot": view(5)}), "probabilities", tmp_path / "p.svg")
    said = words(tmp_path / "p.svg")
    assert "2 choices that changed less left out" in said
    assert "op_01" not in said
    assert "op_02" in said


def test_the_same_record_gives_the_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        plot(SEARCHED, "pareto", tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_png_too(tmp_path):
    plot(SEARCHED, "best", tmp_path / "best.png")
    assert (tmp_path / "best.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("bset", "x.svg", "Did you mean best"),
        ("probabilities", "x.svg", "has no plot 'probabilities'"),
        ("best", "x.bmp", r"must end in one of \.svg"),
        ("best", "none/x.svg", "cannot draw into"),
    ],
)
def test_what_cannot_be_drawn(name, file, message, tmp_path):
    folder = tmp_path / "plots"
    folder.mkdir()
    with pytest.raises(ExperimentError, match=message):
        plot(SEARCHED, name, folder / file)
    assert list(folder.iterdir()) == []


def test_training_and_confusion(tmp_path):
    """Drawn when a fine-tuning has epochs, and when a network was tested."""
    now = datetime.now(UTC)
    report = accuracy_report(np.eye(3)[[0, 1, 2, 1]], np.array([0, 1, 2, 2]), ("cat", "dog", "ship"), list("abcd"), dataset="x")
    epochs = [
        EpochRow(epoch=i, train_loss=1.0 / i if i else None, val_acc=0.5 + i / 10, val_loss=1.0, seconds=i) for i in range(3)
    ]
    status = JobStatus(id="x", name="pets", state="done", created=now, updated=now, epochs=epochs, accuracy=report)
    assert plot_names(status) == ["training", "confusion"]
    of_texts = status.model_copy(update={"accuracy": report.model_copy(update={"items": "texts"})})
    plot(of_texts, "confusion", tmp_path / "texts.svg")
    assert "confusion on the test texts" in (tmp_path / "texts.svg").read_text()
    for name, words in (
        ("training", ("validation accuracy", "training loss")),
        ("confusion", ("cat", "ship", "true class", "test images")),
    ):
        plot(status, name, tmp_path / f"{name}.svg")
        text = (tmp_path / f"{name}.svg").read_text()
        assert all(word in text for word in words)
