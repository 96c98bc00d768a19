"""Output of commands: results are printed on stdout as a table or one JSON document, progress bars on stderr.

The module also has the options that many commands share. Errors and exit codes are in `hubserve.cli.exit_codes`, checks of
files that a command will write in `hubserve.cli.output_files`.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from hubserve.printable_streams import is_printable

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]

MODEL_HELP = "A package folder, an alias, a name or tag in the store, or a pre-searched model; looked for in this order."

SPACE_HELP = "A model space: its name, or the import path of one of your own (mypkg.spaces:Small)."

Model = Annotated[str, typer.Argument(help=MODEL_HELP)]

Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Load programs (torchscript, pt2, a model space in Python) even where this user did not write the package.",
    ),
]


class CheckCommand(TyperCommand):
    """A command with `--check`, which is written `--check=all` to decode all images."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--check-all" if argument == "--check=all" else argument for argument in args])


CheckAll = Annotated[bool, typer.Option("--check-all", hidden=True, help="The same as --check=all.")]

Detach = Annotated[bool, typer.Option("--detach", help="Run in the background; `hubserve jobs` follows it.")]


def check_kind(check: bool, check_all: bool) -> Literal["auto", "all"] | None:
    """Returns "all" for `--check=all`, "auto" for `--check`, and None if neither is given, so that the job is run."""
    return "all" if check_all else "auto" if check else None


def print_json(document: Any) -> None:
    r"""Prints a document as JSON on stdout; values that JSON does not know are printed as text.

    If the encoding of stdout lacks a character, all characters beyond ASCII are printed as JSON's escapes, such as \u00e9.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write((text if is_printable(text) else json.dumps(document, indent=2, default=str)) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table with a title on stdout; columns of numbers are aligned to the right, and None is an empty cell."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table()
    for i, column in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape("" if cell is None else str(cell)) for cell in row))
    # A title of the rich table itself would be wrapped to the width of the table, also within the name of a file.
    console.print(f"[italic]{escape(title)}[/italic]", highlight=False, soft_wrap=True)
    console.print(table)


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Context manager in which each different WeightsWarning is printed on stderr, once, as one line without its place."""
    from hubserve.weights_warning import WeightsWarning

    printed = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", WeightsWarning)
        show_others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if not issubclass(category, WeightsWarning):
                show_others(message, category, *place, **options)
            elif str(message) not in printed:
                printed.add(str(message))
                typer.echo(f"WARNING: {message}", err=True)

        warnings.showwarning = show
        yield


def print_facts(title: str, facts: dict[str, Any]) -> None:
    """Prints a table of names and values, one fact a line; facts whose value is None are left out."""
    print_table(title, ("", ""), [(name, _readable(value)) for name, value in facts.items() if value is not None])


def _readable(value: Any) -> str:
    """Formats a value for a table cell.

    A mapping gets one line `name = value` for each entry that is neither None nor empty, and a sequence is separated by commas;
    nested ones stay on one line.
    """
    if isinstance(value, Mapping):
        return "\n".join(f"{name} = {_inline(inner)}" for name, inner in value.items() if inner not in (None, {}, []))
    return _inline(value)


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_inline(inner)}" for name, inner in value.items() if inner is not None)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_inline, value))
    return str(value)


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Context manager that shows a progress bar on stderr, if that is a terminal.

    It yields a function that advances the bar by a number of steps.

    Args:
        what: Text before the bar.
        total: Number of steps at which the bar is full.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
