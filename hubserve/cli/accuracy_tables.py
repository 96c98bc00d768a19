"""Prints the accuracy of a network on labelled images or texts: each class, confused classes, the worst ones, notes."""

import typer

from hubserve.cli.output import print_table
from hubserve.package.accuracy_report import AccuracyReport

FILE = {"images": "file", "texts": "text"}
"""Name of the column that says which image or text a row is about."""

MOST_ROWS = 50
"""Largest number of classes that are printed; of more, those with the lowest recall."""


def accuracy_text(report: AccuracyReport) -> str:
    """Returns test accuracy, its interval and the calibration error in one line."""
    low, high = report.top1_interval
    text = f"{report.top1:.2%} of {report.images:,} {report.items} (95 % interval {low:.1%} to {high:.1%})"
    return f"{text}; calibration {calibration_text(report)}"


def calibration_text(report: AccuracyReport) -> str:
    """Returns the calibration error with and without the temperature; of a model without a temperature, the error alone."""
    text = f"error {report.calibration_error:.3f}"
    if report.temperature is None:
        return text
    return f"{text} with temperature {report.temperature:g}, {report.unscaled_calibration_error:.3f} without"


def print_accuracy(report: AccuracyReport) -> None:
    """Prints the tables of a report and its notes to stdout."""
    shown = report.classes
    title = "Classes"
    if len(shown) > MOST_ROWS:
        shown = tuple(sorted(shown, key=lambda figures: 1.0 if figures.recall is None else figures.recall)[:MOST_ROWS])
        title = f"The {MOST_ROWS} of {len(report.classes)} classes with the lowest recall"
    rows = [(c.label, c.images, _percent(c.precision), _percent(c.recall)) for c in shown]
    print_table(title, ("class", report.items, "precision", "recall"), rows)
    if report.confused:
        pairs = [(pair.label, pair.predicted, pair.images) for pair in report.confused[:10]]
        print_table("Confused most often", ("class", "given", report.items), pairs)
    if report.worst:
        worst = [(image.file, image.label, image.predicted, f"{image.probability:.1%}") for image in report.worst]
        print_table("Wrong with the largest probability", (FILE[report.items], "class", "given", "probability"), worst)
    for note in report.notes:
        typer.echo(f"note: {note}")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
