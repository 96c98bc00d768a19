"""The look of plots: colours, an empty plot with a title and axes, and writing one into a file. Needs the extra `plots`."""

from pathlib import Path

from hubserve.atomic import staged_result
from hubserve.errors import ExperimentError, MissingExtraError, StorageError

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator
except ImportError as missing:
    raise MissingExtraError(f"drawing needs {missing.name}: pip install 'hubserve[plots]'") from missing

__all__ = ["COLOURS", "GRID", "Axes", "EngFormatter", "Figure", "MaxNLocator", "new_plot", "save_plot"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d1f", "#000000")
"""Colours that colour-blind readers can distinguish (Okabe and Ito 2008); the yellow is darkened for a white background."""

GRID = "#e6e9ed"
"""Colour of the lines of a grid."""


def new_plot(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Returns a figure with one empty plot, and its axes: with a title, a grid, and `x` and `y` as the names of the axes."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    axis = figure.subplots()
    axis.set_title(title, loc="left", fontsize=11)
    axis.set(xlabel=x, ylabel=y)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    return figure, axis


def save_plot(figure: Figure, name: str, path: Path) -> None:
    """Writes a figure into the file `path`, atomically; equal plots of the same name are equal files.

    Args:
        figure: The figure.
        name: Name of the plot, from which the ids in an SVG file are derived.
        path: The file, whose ending gives its format; its folder must exist.

    Raises:
        StorageError: The disk is full, or does not permit it; an old file is as it was.
        ExperimentError: The file cannot be written for another reason; an old file is as it was.
    """
    try:
        # Text stays text in SVG, so it can be searched and read aloud. With a date, equal plots would be different files.
        with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}), staged_result(path) as unfinished:
            figure.savefig(unfinished, metadata={"Date": None} if path.suffix.lower() == ".svg" else None, dpi=150)
    except StorageError:
        raise
    except OSError as error:
        raise ExperimentError(f"cannot draw into {path}: {error.strerror or error}") from error
