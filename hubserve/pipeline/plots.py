"""Plots of a job: best score so far, accuracy against a cost, probabilities of a one-shot strategy, training, confusion.

They are drawn from the status of a job (`hubserve.jobs.JobStatus`), also of one that is running. Needs the extra `plots`.
"""

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path

from hubserve.errors import ExperimentError
from hubserve.jobs import ComparedRow, JobStatus, LabelProbabilities, OneShotView, TrialRow
from hubserve.package.accuracy_report import AccuracyReport
from hubserve.pipeline.front import cost_of, front_of
from hubserve.pipeline.training_plots import confusion_figure, training_figure
from hubserve.plot_style import COLOURS, GRID, Axes, EngFormatter, Figure, MaxNLocator, new_plot, save_plot
from hubserve.similar_names import suggest

ENDINGS = (".svg", ".png", ".pdf")

GREY, LINE = "#9aa4b0", "#0072b2"

MOST_LABELS = 24
"""Largest number of panels in one plot; of a space with more choices, those that changed most are shown."""

AXIS_NAMES = {
    "val_acc": "validation accuracy",
    "val_loss": "validation loss",
    "latency_ms": "latency (ms)",
    "params": "parameters",
    "macs": "MACs",
}


def plot_names(status: JobStatus) -> list[str]:
    """Returns the names of the plots for which the status has data: some of the keys of `_DRAW`."""
    has_scores = bool(status.objectives) and bool(_scored(status, status.objectives[0].name))
    view = status.oneshot
    has_data = {
        "best": has_scores,
        "pareto": has_scores and cost_of(status) is not None,
        "probabilities": view is not None and bool(view.labels) and len(view.steps) > 1,
        "training": len(status.epochs) > 1,
        "front": len(_compared(status)) > 1,
        "confusion": status.accuracy is not None and status.accuracy.confusion is not None,
    }
    return [name for name, has in has_data.items() if has]


def plot(status: JobStatus, name: str, path: Path, *, limits: Mapping[str, float] | None = None) -> None:
    """Draws one plot into a file.

    Args:
        status: Status of the job.
        name: "best", "pareto", "front", "probabilities", "training" or "confusion".
        path: The file, whose ending gives its format; its folder must exist.
        limits: Upper bound of each constrained measure, drawn as a line; None draws none.

    Raises:
        ExperimentError: There is no such plot, or no data for it yet, or the ending is none of `ENDINGS`, or the file cannot be
            written, for example because the disk is full; an old file is as it was.
    """
    check_plot_ending(path)
    if name not in plot_names(status):
        raise ExperimentError(f"{status.id} has no plot {name!r} (yet). {suggest(name, plot_names(status))}")
    save_plot(_DRAW[name](status, limits or {}), name, path)


def plot_confusion(report: AccuracyReport, title: str, path: Path) -> None:
    """Draws the confusion matrix of a report into a file.

    Args:
        report: Accuracy on labelled images.
        title: Text above the matrix.
        path: The file, whose ending gives its format; its folder must exist.

    Raises:
        ExperimentError: The report has no matrix, since the model has too many classes, or the ending is none of `ENDINGS`, or
            the file cannot be written, for example because the disk is full; an old file is as it was.
    """
    check_plot_ending(path)
    if report.confusion is None:
        raise ExperimentError(f"there is no confusion matrix of {len(report.classes):,} classes; at most 100 have one")
    save_plot(confusion_figure(report, title), "confusion", path)


def check_plot_ending(path: Path) -> None:
    """Raises ExperimentError if the ending of the file's name is none of `ENDINGS`."""
    if path.suffix.lower() not in ENDINGS:
        raise ExperimentError(f"cannot draw into {path}: its name must end in one of {', '.join(ENDINGS)}")


def draw_all(status: JobStatus, limits: Mapping[str, float], folder: Path) -> list[Path]:
    """Draws all plots for which the status has data into a folder, as SVG, and returns the files.

    Args:
        status: Status of the job.
        limits: Upper bound of each constrained measure, drawn as a line.
        folder: The folder; it is created if it does not exist.

    Raises:
        ExperimentError: A file cannot be written.
        OSError: The folder cannot be created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.svg" for name in plot_names(status)}
    for name, path in files.items():
        plot(status, name, path, limits=limits)
    return list(files.values())


def _scored(status: JobStatus, *names: str) -> list[TrialRow]:
    return [row for row in status.history if row.state == "complete" and all(name in row.values for name in names)]


def _best(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    objective = status.objectives[0]
    rows = _scored(status, objective.name)
    score = _axis_name(objective.name)
    figure, axis = new_plot(f"{status.name}: best {score} so far", "trial", score)
    _dots(axis, [(row.number, row.values[objective.name]) for row in rows])
    better: Callable[[float, float], float] = max if objective.direction == "maximize" else min
    so_far = list(accumulate((row.values[objective.name] for row in rows), better))
    # The line of the best score reaches the right edge.
    numbers = [*(row.number for row in rows), max(row.number for row in status.history)]
    axis.step(numbers, [*so_far, so_far[-1]], where="post", color=LINE, linewidth=1.8, label="best so far", zorder=3)
    _mark_lower_edge(axis, status, ("infeasible",), "|", GREY, "refused by a constraint")
    _mark_lower_edge(axis, status, ("failed", "pruned"), "x", COLOURS[1], "failed or pruned")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="best", edgecolor="none", framealpha=0.85)
    return figure


def _pareto(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    objective, cost = status.objectives[0], cost_of(status)
    assert cost is not None  # see plot_names
    x, y = _axis_name(cost.name), _axis_name(objective.name)
    figure, axis = new_plot(f"{status.name}: {y} against {x}", x, y)
    rows = _scored(status, objective.name, cost.name)
    place = {row.number: (row.values[cost.name], row.values[objective.name]) for row in rows}
    front = front_of(place, cost, objective)
    _dots(axis, [place[number] for number in place if number not in front])
    same_way = (cost.direction == "minimize") == (objective.direction == "maximize")
    xs, ys = zip(*(place[number] for number in front), strict=True)
    axis.step(xs, ys, where="post" if same_way else "pre", color=LINE, linewidth=1.4, zorder=2)
    axis.plot(xs, ys, "o", color=LINE, label="Pareto front", zorder=3)
    if cost.name in limits:
        axis.axvline(limits[cost.name], color="#d55e00", linestyle="--", linewidth=1.2, label=f"at most {limits[cost.name]:g}")
    if status.best is not None and status.best.number in place:
        axis.plot(
            *place[status.best.number], "*", color="#e69f00", markersize=16, markeredgecolor="black", label="chosen", zorder=4
        )
    if cost.name in ("params", "macs"):
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.legend(loc="best", edgecolor="none", framealpha=0.85)
    return figure


def _compared(status: JobStatus) -> list[ComparedRow]:
    return [row for row in status.compared if row.latency_ms is not None and _accuracy_of(row) is not None]


def _accuracy_of(row: ComparedRow) -> float | None:
    return row.val_acc if row.test_acc is None else row.test_acc


def _front(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    rows = _compared(status)
    tested = all(row.test_acc is not None for row in rows)
    accuracy = "test accuracy" if tested else "accuracy"
    figure, axis = new_plot(f"{status.name}: what was found and networks made by hand", "measured latency (ms)", accuracy)
    styles = {
        "baseline": ("s", GREY, "made by hand"),
        "front": ("o", LINE, "member of the Pareto front"),
        "winner": ("*", "#e69f00", "chosen"),
    }
    for kind, (marker, colour, label) in styles.items():
        points = [(row.latency_ms, _accuracy_of(row)) for row in rows if row.kind == kind]
        if points:
            size = 16 if kind == "winner" else 7
            axis.plot(*zip(*points, strict=True), marker, color=colour, markersize=size, markeredgecolor="black", label=label)
    for i, row in enumerate(sorted(rows, key=lambda row: row.latency_ms or 0.0)):
        # Names of neighbours are at different heights.
        place, offset = (row.latency_ms, _accuracy_of(row)), (7, (6, -11, 16, -21)[i % 4])
        name = row.name.removeprefix(f"{rows[0].name}-") if row.kind == "front" else row.name
        axis.annotate(name, place, xytext=offset, textcoords="offset points", fontsize=8)
    limit = limits.get("latency_ms")
    if limit is not None and limit < 2 * max(row.latency_ms or 0.0 for row in rows):  # A far one would hide the differences.
        axis.axvline(limit, color=COLOURS[1], linestyle="--", linewidth=1.2, label=f"at most {limit:g}")
    axis.margins(x=0.15)
    axis.legend(loc="best", edgecolor="none", framealpha=0.85)
    return figure


def _probabilities(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    view = status.oneshot
    assert view is not None  # see plot_names
    shown = sorted(view.labels, key=lambda label: -_change(view.labels[label]))[:MOST_LABELS]
    shown = [label for label in view.labels if label in shown]
    columns = min(3 if len(shown) <= 6 else 4, len(shown))
    rows = math.ceil(len(shown) / columns)
    alike = len({tuple(view.labels[label].candidates) for label in shown}) == 1
    figure = Figure(figsize=(3.2 * columns + 0.4, 2.2 * rows + 1.1), layout="constrained")
    left_out = len(view.labels) - len(shown)
    figure.suptitle(
        f"{status.name}: probability of each candidate"
        + (f" ({left_out} choices that changed less left out)" if left_out else "")
    )
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, axis in enumerate(axes.flat):
        if place >= len(shown):
            axis.set_axis_off()
            continue
        _draw_probabilities(axis, shown[place], view, legend=not alike)
        if place + columns >= len(shown):
            axis.set_xlabel("step")
            axis.tick_params(labelbottom=True)
    if alike:
        handles, names = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5), frameon=False, fontsize=8)
    return figure


def _draw_probabilities(axis: Axes, label: str, view: OneShotView, *, legend: bool) -> None:
    found = view.labels[label]
    for place, candidate in enumerate(found.candidates):
        style = "-" if place < len(COLOURS) else "--"
        values = [row[place] for row in found.probabilities]
        axis.plot(view.steps, values, style, color=COLOURS[place % len(COLOURS)], linewidth=1.4, label=candidate)
    axis.set_title(label, fontsize=9, loc="left")
    axis.set_ylim(-0.03, 1.03)
    axis.grid(color=GRID, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if legend:
        axis.legend(fontsize=6, frameon=False, ncols=2)


def _change(found: LabelProbabilities) -> float:
    first, last = found.probabilities[0], found.probabilities[-1]
    return max(abs(a - b) for a, b in zip(first, last, strict=True))


def _confusion(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    assert status.accuracy is not None  # see plot_names
    return confusion_figure(status.accuracy, f"{status.name}: confusion on the test {status.accuracy.items}")


def _dots(axis: Axes, points: list[tuple[float, float]]) -> None:
    if points:
        axis.plot(*zip(*points, strict=True), "o", markersize=5, color=GREY, label="trial", zorder=1)


def _mark_lower_edge(axis: Axes, status: JobStatus, states: tuple[str, ...], marker: str, colour: str, label: str) -> None:
    """Draws trials in these states, which have no score, as marks on the lower edge of the plot."""
    if numbers := [row.number for row in status.history if row.state in states]:
        lower_edge = axis.get_xaxis_transform()
        axis.plot(numbers, [0.02] * len(numbers), marker, color=colour, transform=lower_edge, label=label, zorder=2)


def _axis_name(name: str) -> str:
    return AXIS_NAMES.get(name, name)


_DRAW: dict[str, Callable[[JobStatus, Mapping[str, float]], Figure]] = {
    "best": _best,
    "pareto": _pareto,
    "front": _front,
    "training": training_figure,
    "confusion": _confusion,
    "probabilities": _probabilities,
}
"""Name of each plot -> function that draws it."""
