"""`draw_curves`, which plots the mean curves of a comparison with their intervals. Needs the extra `plots`."""

from pathlib import Path

import numpy as np

from hubserve.comparison.comparison import StrategyComparison
from hubserve.comparison.frames import CLOSED_FORM
from hubserve.comparison.paired_statistics import mean_interval
from hubserve.comparison.report_pages import plot_name
from hubserve.comparison.table_result import Measured, TableResult
from hubserve.plot_style import COLOURS, Figure, new_plot, save_plot

STYLES = ("-", "--", "-.", ":")
"""Styles of the lines: the next one when all colours were used."""


def draw_curves(comparison: StrategyComparison, folder: Path) -> list[Path]:
    """Draws a plot for each table and measure, with a curve for each strategy, as SVG, and returns the files.

    Args:
        comparison: Curves of all strategies over the seeds.
        folder: Folder of the files, which is created if it does not exist.

    Raises:
        ExperimentError: A file cannot be written.
        StorageError: The disk is full, or does not permit it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for result in comparison.results:
        for measured in result.measures:
            files.append(folder / plot_name(result, measured))
            save_plot(_curves(comparison, result, measured), files[-1].stem, files[-1])
    return files


def _curves(comparison: StrategyComparison, result: TableResult, measured: Measured) -> Figure:
    """Returns a plot of the means over the seeds, with their 95 % intervals; on a logarithmic axis for regrets all above 0."""
    regret = measured.name == "regret"
    y = f"regret of {result.table.scores.judge}" if regret else "share of the hypervolume"
    figure, axis = new_plot(f"{result.table.name}: mean of {len(comparison.seeds)} seeds, 95 % interval", "trials", y)
    trials = np.arange(1, comparison.trials + 1)
    lowest = np.inf
    for i, (label, curves) in enumerate(zip(comparison.labels, measured.curves, strict=True)):
        mean, low, high = mean_interval(curves)
        lowest = min(lowest, float(mean.min()))
        colour = COLOURS[i % len(COLOURS)]
        axis.plot(trials, mean, STYLES[i // len(COLOURS) % len(STYLES)], color=colour, linewidth=1.6, label=label, zorder=3)
        # On a logarithmic axis a band ends above 0.
        axis.fill_between(trials, np.maximum(low, 0.2 * mean) if regret else low, high, color=colour, alpha=0.15, linewidth=0)
    if regret and result.closed_form is not None:
        exact = result.table.sign * (result.table.best_judge - result.closed_form.mean)
        lowest = min(lowest, float(exact.min()))
        axis.plot(trials, exact, ":", color="#555555", linewidth=1.4, label=CLOSED_FORM, zorder=2)
    if regret and lowest > 0:
        axis.set_yscale("log")
    axis.legend(loc="best", edgecolor="none", framealpha=0.85, fontsize=8)
    return figure
