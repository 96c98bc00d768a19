"""Shows the progress of a running job on stderr: a live view on a terminal, or else one line for each event."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hubserve.jobs import JobStatus
from hubserve.jobs.progress_text import ProgressLines, eta_text, remark, value_text, values_text

STATE_COLOURS = {"done": "green", "failed": "red", "refused": "red", "stopped": "yellow", "stopping": "yellow"}
LAST_TRIALS = 8


@contextmanager
def show_progress() -> Iterator[Callable[[JobStatus], None]]:
    """Context manager that yields a function, which shows each job status that it is called with on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield ProgressLines().write
        return
    latest: list[RenderableType] = [Text("getting ready")]

    def show(status: JobStatus) -> None:
        latest[0] = progress_view(status)

    with Live(get_renderable=lambda: latest[0], console=console, refresh_per_second=4):
        yield show


@contextmanager
def check_progress() -> Iterator[Callable[[int, int], None]]:
    """Context manager that yields a function (done, total), which shows the number of checked images as a bar on stderr.

    Nothing is shown if stderr is not a terminal.
    """
    console = Console(stderr=True)
    columns = (TextColumn("checking images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)


def progress_view(status: JobStatus) -> RenderableType:
    """Returns the live view of a job: its state, progress, best trial, last trials and error."""
    colour = STATE_COLOURS.get(status.state, "cyan")
    top = Text.from_markup(f"[bold]{escape(status.name)}[/bold]  [{colour}]{status.state}[/{colour}]  {escape(status.message)}")
    parts: list[RenderableType] = [top]
    if status.max_trials:
        parts.append(_bar(status))
    if status.best is not None:
        number = f"trial {status.best.number}" if status.best.number is not None else "found"
        parts.append(Text.from_markup(f"best  [bold]{escape(values_text(status.best.values))}[/bold]  ({number})"))
    if status.history:
        parts.append(_trials(status))
    if status.error:
        parts.append(Text(status.error, style="red"))
    return Group(*parts)


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
        table.add_row(str(row.number), *values, seconds, remark(row), style="bold" if best else None)
    return table
