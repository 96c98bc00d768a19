"""Plots of a job: best score so far, accuracy against a cost, probabilities of a one-shot strategy, training, confusion.

They are drawn from the status of a job (`hubserve.jobs.JobStatus`), also of one that is running. Needs the extra `plots`.
"""

import math
from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path

from hubserve.atomic import staged_result
from hubserve.error_messages import suggest
from hubserve.errors import ExperimentError, MissingExtraError
from hubserve.jobs import JobStatus, LabelProbabilities, ObjectiveInfo, OneShotView, TrialRow
from hubserve.package.accuracy_report import AccuracyReport

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    from hubserve.pipeline.training_plots import confusion_figure, training_figure
except ImportError as missing:
    raise MissingExtraError(f"drawing needs {missing.name}: pip install 'hubserve[plots]'") from missing

ENDINGS = (".svg", ".png", ".pdf")

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#000000")
"""Colours that colour-blind readers can distinguish (Okabe and Ito 2008); the yellow is darkened for a white background."""

GREY, LINE = "#9aa4b0", "#0072b2"

MOST_LABELS = 24
"""Largest number of panels in one plot; of a space with more choices, those that changed most are shown."""

AXIS_NAMES = {"val_acc": "validation accuracy", "latency_ms": "latency (ms)", "params": "parameters", "macs": "MACs"}


def plot_names(status: JobStatus) -> list[str]:
    """Returns the names of the plots for which the status has data: some of the keys of `_DRAW`."""
    has_scores = bool(status.objectives) and bool(_scored(status, status.objectives[0].name))
    view = status.oneshot
    has_data = {
        "best": has_scores,
        "pareto": has_scores and cost_of(status) is not None,
        "probabilities": view is not None and bool(view.labels) and len(view.steps) > 1,
        "training": len(status.epochs) > 1,
        "confusion": status.accuracy is not None and status.accuracy.confusion is not None,
    }
    return [name for name, has in has_data.items() if has]


def plot(status: JobStatus, name: str, path: Path, *, limits: Mapping[str, float] | None = None) -> None:
    """Draws one plot into a file.

    Args:
        status: Status of the job.
        name: "best", "pareto", "probabilities", "training" or "confusion".
        path: The file, whose ending gives its format; its folder must exist.
        limits: Upper bound of each constrained measure, drawn as a line; None draws none.

    Raises:
        ExperimentError: There is no such plot, or no data for it yet, or the ending is none of `ENDINGS`, or the file cannot be
            written.
        StorageError: The disk is full, or does not permit it; the old file is as it was.
    """
    check_plot_ending(path)
    if name not in plot_names(status):
        raise ExperimentError(f"{status.id} has no plot {name!r} (yet). {suggest(name, plot_names(status))}")
    _save(_DRAW[name](status, limits or {}), name, path)


def plot_confusion(report: AccuracyReport, title: str, path: Path) -> None:
    """Draws the confusion matrix of a report into a file.

    Args:
        report: Accuracy on labelled images.
        title: Text above the matrix.
        path: The file, whose ending gives its format; its folder must exist.

    Raises:
        ExperimentError: The report has no matrix, since the model has too many classes, or the ending is none of `ENDINGS`, or
            the file cannot be written.
        StorageError: The disk is full, or does not permit it; the old file is as it was.
    """
    check_plot_ending(path)
    if report.confusion is None:
        raise ExperimentError(f"there is no confusion matrix of {len(report.classes):,} classes; at most 100 have one")
    _save(confusion_figure(report, title), "confusion", path)


def check_plot_ending(path: Path) -> None:
    """Raises ExperimentError if the ending of the file's name is none of `ENDINGS`."""
    if path.suffix.lower() not in ENDINGS:
        raise ExperimentError(f"cannot draw into {path}: its name must end in one of {', '.join(ENDINGS)}")


def _save(figure: Figure, name: str, path: Path) -> None:
    """Writes the plot `name` into the file `path`, atomically."""
    try:
        # Text stays text in SVG, so it can be searched and read aloud. With a date, equal plots would be different files.
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), staged_result(path) as unfinished:
            figure.savefig(unfinished, metadata={"Date": None} if path.suffix.lower() == ".svg" else None, dpi=150)
    except OSError as error:
        raise ExperimentError(f"cannot draw into {path}: {error.strerror or error}") from error


def draw_all(status: JobStatus, limits: Mapping[str, float], folder: Path) -> list[Path]:
    """Draws all plots for which the status has data into a folder, as SVG; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{name}.svg" for name in plot_names(status)}
    for name, path in files.items():
        plot(status, name, path, limits=limits)
    return list(files.values())


def cost_of(status: JobStatus) -> ObjectiveInfo | None:
    """Returns the cost on the other axis of the Pareto plot; None if there is none.

    It is the second objective of the search, or else the latency, MACs or number of parameters.
    """
    if len(status.objectives) > 1:
        return status.objectives[1]
    measured = {name for row in status.history for name in row.values}
    costs = [name for name in ("latency_ms", "macs", "params") if name in measured]
    return ObjectiveInfo(name=costs[0], direction="minimize") if costs else None


def _scored(status: JobStatus, *names: str) -> list[TrialRow]:
    return [row for row in status.history if row.state == "complete" and all(name in row.values for name in names)]


def _best(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    objective = status.objectives[0]
    rows = _scored(status, objective.name)
    score = _axis_name(objective.name)
    figure, axis = _figure(f"{status.name}: best {score} so far", "trial", score)
    _dots(axis, [(row.number, row.values[objective.name]) for row in rows])
    better: Callable[[float, float], float] = max if objective.direction == "maximize" else min
    so_far = list(accumulate((row.values[objective.name] for row in rows), better))
    # The line of the best score reaches the right edge.
    numbers = [*(row.number for row in rows), max(row.number for row in status.history)]
    axis.step(numbers, [*so_far, so_far[-1]], where="post", color=LINE, linewidth=1.8, label="best so far", zorder=3)
    _mark_lower_edge(axis, status, ("infeasible",), "|", GREY, "beyond a constraint")
    _mark_lower_edge(axis, status, ("failed", "pruned"), "x", COLOURS[1], "failed or pruned")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(loc="best", edgecolor="none", framealpha=0.85)
    return figure


def _pareto(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    objective, cost = status.objectives[0], cost_of(status)
    assert cost is not None  # see plot_names
    x, y = _axis_name(cost.name), _axis_name(objective.name)
    figure, axis = _figure(f"{status.name}: {y} against {x}", x, y)
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


def front_of(place: Mapping[int, tuple[float, float]], cost: ObjectiveInfo, objective: ObjectiveInfo) -> list[int]:
    """Returns the numbers of the trials on the Pareto front, the cheapest first; of equal trials only the first one.

    Args:
        place: (cost, objective) of each trial by its number.
        cost: The cost, for its direction.
        objective: The objective, for its direction.
    """
    sign = (1 if cost.direction == "minimize" else -1, -1 if objective.direction == "maximize" else 1)
    front: list[int] = []
    for number in sorted(place, key=lambda n: (sign[0] * place[n][0], sign[1] * place[n][1], n)):
        if not front or sign[1] * place[number][1] < sign[1] * place[front[-1]][1]:
            front.append(number)
    return front


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
    axis.grid(color="#e6e9ed", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if legend:
        axis.legend(fontsize=6, frameon=False, ncols=2)


def _change(found: LabelProbabilities) -> float:
    first, last = found.probabilities[0], found.probabilities[-1]
    return max(abs(a - b) for a, b in zip(first, last, strict=True))


def _confusion(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    assert status.accuracy is not None  # see plot_names
    return confusion_figure(status.accuracy, f"{status.name}: confusion on the test images")


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.set_title(title, loc="left", fontsize=11)
    axis.set(xlabel=x, ylabel=y)
    axis.grid(color="#e6e9ed", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


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
    "training": training_figure,
    "confusion": _confusion,
    "probabilities": _probabilities,
}
"""Name of each plot -> function that draws it."""
