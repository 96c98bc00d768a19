"""Figures of a trained network: accuracy and loss by epoch, and the confusion matrix of labelled images."""

from collections.abc import Mapping

from hubserve.jobs import JobStatus
from hubserve.package.accuracy_report import AccuracyReport
from hubserve.plot_style import Axes, Figure

MOST_NUMBERS = 20
"""Largest number of classes for which the numbers of images are written into the cells of a confusion matrix."""

ACCURACY, LOSS = "#0072b2", "#d55e00"


def training_figure(status: JobStatus, limits: Mapping[str, float]) -> Figure:
    """Returns a figure with validation accuracy, validation loss and training loss after each epoch of a fine-tuning.

    Args:
        status: Status with at least one epoch.
        limits: Not used; the functions of all plots of a job have this argument.
    """
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axis = figure.subplots()
    epochs = [row.epoch for row in status.epochs]
    axis.plot(epochs, [row.val_acc for row in status.epochs], "o-", color=ACCURACY, markersize=4, label="validation accuracy")
    axis.set_title(f"{status.name}: accuracy and loss by epoch; epoch 0 is the head alone", loc="left", fontsize=11)
    axis.set(xlabel="epoch", ylabel="validation accuracy")
    # No accuracy is above 1, and a curve at 1 stays visible below the frame.
    axis.set_ylim(top=min(axis.get_ylim()[1], 1.005))
    axis.grid(color="#e6e9ed", linewidth=0.8)
    losses = axis.twinx()
    losses.plot(epochs, [row.val_loss for row in status.epochs], "-", color=LOSS, label="validation loss")
    trained = {row.epoch: row.train_loss for row in status.epochs if row.train_loss is not None}
    losses.plot(list(trained), list(trained.values()), ":", color=LOSS, label="training loss")
    losses.set_ylabel("loss")
    losses.set_ylim(bottom=0)
    handles = [*axis.get_lines(), *losses.get_lines()]
    axis.legend(handles, [str(line.get_label()) for line in handles], loc="center right", edgecolor="none", framealpha=0.85)
    return figure


def confusion_figure(report: AccuracyReport, title: str) -> Figure:
    """Returns a figure with a confusion matrix in which each row is divided by the images of its class.

    Args:
        report: Report with a confusion matrix.
        title: Text above the matrix.
    """
    confusion = report.confusion or ()
    labels = [figures.label for figures in report.classes]
    side = min(14.0, 2.6 + 0.42 * len(labels))
    figure = Figure(figsize=(side, side), layout="constrained")
    axis = figure.subplots()
    shares = [[count / max(1, sum(row)) for count in row] for row in confusion]
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    # A label such as "$5" is no formula.
    axis.set_title(title, loc="left", fontsize=11, parse_math=False)
    axis.set(xlabel="given class", ylabel="true class")
    axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8, parse_math=False)
    axis.set_yticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    if len(labels) <= MOST_NUMBERS:
        _write_numbers(axis, confusion, shares)
    return figure


def _write_numbers(axis: Axes, confusion: tuple[tuple[int, ...], ...], shares: list[list[float]]) -> None:
    for row, counts in enumerate(confusion):
        for column, count in enumerate(counts):
            if count:
                colour = "white" if shares[row][column] > 0.5 else "black"
                axis.text(column, row, str(count), ha="center", va="center", fontsize=7, color=colour)
