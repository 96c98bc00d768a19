"""`write_report`, which writes the results of a comparison into a folder: CSV files and a page in Markdown."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from hubserve.atomic import write_atomic
from hubserve.comparison.comparison import StrategyComparison
from hubserve.comparison.frames import Frame, curve_frame, pair_frame, random_frame, rank_frame, summary_frame, time_frame
from hubserve.comparison.report_pages import ReportPage, report_pages

FRAMES = {
    "summary": summary_frame,
    "curves": curve_frame,
    "pairs": pair_frame,
    "ranks": rank_frame,
    "times": time_frame,
    "random": random_frame,
}
"""Name of each CSV file, without its ending, and the function that makes its table."""

PAGE = "report.md"
"""Name of the page."""


def write_report(
    comparison: StrategyComparison, folder: Path, *, plots: Sequence[Path] = (), command: str | None = None
) -> list[Path]:
    """Writes the results into a folder and returns the files; files of earlier reports are replaced.

    Args:
        comparison: The results.
        folder: The folder, which is made if it does not exist.
        plots: Files of plots in the folder, as `curve_plots.draw_curves` returns them, which the page shows.
        command: The command with which the comparison was made, for the page; None leaves it out.

    Raises:
        StorageError: The disk is full, or does not permit it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, make in FRAMES.items():
        files.append(folder / f"{name}.csv")
        write_atomic(files[-1], csv_text(make(comparison)))
    files.append(folder / PAGE)
    write_atomic(files[-1], markdown(comparison, plots=[plot.name for plot in plots], command=command))
    return files


def csv_text(frame: Frame) -> str:
    """Returns a frame as CSV with a header; a missing value is an empty cell, and numbers have all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows(frame.rows)
    return text.getvalue()


def markdown(comparison: StrategyComparison, *, plots: Sequence[str] = (), command: str | None = None) -> str:
    """Returns the report as Markdown.

    Args:
        comparison: The results.
        plots: Names of the files of plots; each is shown above the first table that it belongs to.
        command: The command with which the comparison was made; None leaves it out.
    """
    lines = ["# How the strategies compare", ""]
    if command is not None:
        lines += ["```", command, "```", ""]
    seeds = comparison.seeds
    lines += [f"{comparison.trials} trials of each search, {len(seeds)} seeds ({seeds[0]} to {seeds[-1]}).", ""]
    lines += [f"**Warning: {warning}.**\n" for warning in comparison.warnings]
    for page in report_pages(comparison):
        if page.plot in plots:
            lines += [f"![{_escaped(page.title)}]({page.plot})", ""]
        lines += [*_table(page), ""]
    return "\n".join(lines)


def _table(page: ReportPage) -> Iterator[str]:
    yield f"{_escaped(page.title)}:"
    yield ""
    yield f"| {' | '.join(map(_escaped, page.columns))} |"
    yield "|" + "---|" * len(page.columns)
    for row in page.rows:
        yield f"| {' | '.join(map(_escaped, row))} |"


def _escaped(text: str) -> str:
    """Returns a text in which no character has a meaning in a table of Markdown."""
    return "".join(f"\\{character}" if character in "\\|*[]<>`" else character for character in text)
