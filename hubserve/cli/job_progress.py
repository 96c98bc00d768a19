"""How a running job looks: a live picture on a terminal, one line an event elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hubserve.jobs import JobStatus, TrialRow

STATE_COLOURS = {"done": "green", "failed": "red", "stopped": "yellow", "stopping": "yellow"}
LAST_TRIALS = 8


@contextmanager
def shown(first: JobStatus) -> Iterator[Callable[[JobStatus], None]]:
    """Inside, what is given to the function is shown on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines().show
        return
    latest = [first]

    def show(status: JobStatus) -> None:
        latest[0] = status

    with Live(get_renderable=lambda: picture(latest[0]), console=console, refresh_per_second=4):
        yield show


def picture(status: JobStatus) -> RenderableType:
    """The job as it stands."""
    colour = STATE_COLOURS.get(status.state, "cyan")
    head = Text.from_markup(
        f"[bold]{escape(status.name)}[/bold]  [{colour}]{status.state}[/{colour}]  {escape(status.message)}"
    )
    parts: list[RenderableType] = [head]
    if status.max_trials:
        parts.append(_bar(status))
    if status.best is not None:
        number = f"trial {status.best.number}" if status.best.number is not None else "found"
        parts.append(Text.from_markup(f"best  [bold]{escape(values_line(status.best.values))}[/bold]  ({number})"))
    if status.history:
        parts.append(_trials(status))
    if status.error:
        parts.append(Text(status.error, style="red"))
    return Group(*parts)


def values_line(values: dict[str, float]) -> str:
    """Scores by name, as short as they can be read."""
    return "  ".join(f"{name} {value_text(name, value)}" for name, value in values.items())


def value_text(name: str, value: float) -> str:
    """One score."""
    if name in ("params", "macs"):
        return f"{value:,.0f}"
    return f"{value:.2f}" if name == "latency_ms" else f"{value:.4f}"


def eta_text(seconds: float | None) -> str:
    """A time to come, in words; empty where nobody knows."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


def _bar(status: JobStatus) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    total = status.max_trials or 1
    bar = ProgressBar(total=total, completed=min(status.trials, total), width=40)
    row.add_row("trials", bar, f"{status.trials}/{total}", eta_text(status.eta_seconds))
    return row


def _trials(status: JobStatus) -> RenderableType:
    names = [objective.name for objective in status.objectives]
    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for column in ("trial", *names, "seconds", ""):
        table.add_column(column, justify="right", style="dim" if column == "seconds" else None)
    for row in status.history[-LAST_TRIALS:]:
        best = status.best is not None and status.best.number == row.number
        values = [value_text(name, row.values[name]) if name in row.values else "" for name in names]
        seconds = f"{row.seconds:.1f}" if row.seconds is not None else ""
        table.add_row(str(row.number), *values, seconds, _remark(row), style="bold" if best else None)
    return table


def _remark(row: TrialRow) -> str:
    return "" if row.state == "complete" else f"{row.state}: {row.reason}" if row.reason else row.state


class _Lines:
    """For logs: what is new since the last time, a line each."""

    def __init__(self) -> None:
        self._trials: set[int] = set()
        self._message = ""

    def show(self, status: JobStatus) -> None:
        for row in status.history:
            if row.number not in self._trials and row.state != "running":
                self._trials.add(row.number)
                _say(f"trial {row.number}: {values_line(row.values)}  {_remark(row)}".rstrip())
        if status.message and status.message != self._message and not _of_trials(status):
            _say(f"[{status.phase or status.state}] {status.message}")
        self._message = status.message


def _of_trials(status: JobStatus) -> bool:
    """Whether the message only counts the trials, which have a line each."""
    return status.phase == "search" and "trials ended" in status.message


def _say(line: Any) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
