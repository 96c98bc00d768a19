"""The output of commands: one JSON document or a table on stdout, everything else on stderr; and exit codes."""

import functools
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, get_args

import typer
from typer.models import CommandFunctionType, ParameterInfo

BAD_INPUT = 2
"""Exit code of an error that the user can correct; 0 is success, 1 a fault of hubserve, 130 an interrupt."""

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]

MODEL_HELP = "A package folder, an alias, a name or tag in the store, or a pre-searched model; looked for in this order."

Model = Annotated[str, typer.Argument(help=MODEL_HELP)]

Trust = Annotated[
    bool,
    typer.Option("--trust", help="Load formats that are programs (torchscript, pt2) even where this user did not write them."),
]


class CommandGroup(typer.Typer):
    """A typer app whose commands end with a sentence on stderr and exit code 2 where hubserve raises an error of its own."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[CommandFunctionType], CommandFunctionType]:
        register = super().command(name, **options)

        def registered(function: CommandFunctionType) -> CommandFunctionType:
            for parameter in inspect.signature(function).parameters.values():
                for info in get_args(parameter.annotation):
                    if isinstance(info, ParameterInfo):
                        info.readable = False  # Whose file it is, and what to do, is said where it is opened.
            return register(_reporting_errors(function))

        return registered


def _reporting_errors(function: CommandFunctionType) -> CommandFunctionType:
    """Wraps a command: errors of hubserve end it with a sentence on stderr (and a document with --json) and exit code 2."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        from pydantic import ValidationError

        from hubserve.errors import HubserveError, OutputError
        from hubserve.storage_faults import storage_error, with_denial

        as_json = bool(kwargs.get("as_json"))
        try:
            return function(*args, **kwargs)
        except BrokenPipeError:
            raise
        except Exception as error:
            fault = storage_error(error)
            if fault is not None:
                fail(fault, as_json=as_json)
            if isinstance(error, HubserveError) and error.args:
                error.args = (with_denial(_message(error), error), *error.args[1:])
            if isinstance(error, (HubserveError, ValidationError)):
                fail(error, as_json=as_json)
            if isinstance(error, OSError) and error.filename is not None:
                # A file or folder that the user named, or one beside it.
                fail(OutputError(f"{error.filename}: {error.strerror}"), as_json=as_json)
            raise

    return run  # type: ignore[return-value]


def fail(error: Exception, *, as_json: bool) -> NoReturn:
    """Prints what is wrong and ends with exit code 2."""
    from rich.console import Console
    from rich.markup import escape

    if as_json:
        print_json({"error": {"type": type(error).__name__, "message": _message(error)}})
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{type(error).__name__}[/red]: {escape(_message(error))}")
    raise typer.Exit(BAD_INPUT)


def _message(error: Exception) -> str:
    return str(error.args[0]) if error.args else str(error)


def print_json(document: Any) -> None:
    """One document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table; columns of numbers are aligned to the right."""
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
    # Not the table's own title, which would be broken to the width of the table: it often names a file.
    console.print(f"[italic]{escape(title)}[/italic]", highlight=False, soft_wrap=True)
    console.print(table)


def check_writable(path: Path | None) -> None:
    """Raises OutputError where no file can be written at `path`; called before the work whose result is written there.

    A file is replaced by a new one in its folder, so the folder must be writable; a device is written to itself.
    """
    from hubserve.errors import OutputError

    if path is None:
        return
    path = Path(os.path.realpath(path))  # Of a link, the target is replaced.
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    _check_access(path, path if path.exists() and not path.is_file() else path.parent)


def check_folder_writable(folder: Path) -> None:
    """Raises OutputError where `folder`, or the nearest one above it that exists, can get no new file.

    Called before the work whose result is written there; the folder itself is not made.
    """
    from hubserve.errors import OutputError
    from hubserve.storage_faults import is_there

    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if is_there(path))
    if not existing.is_dir():
        raise OutputError(f"cannot write into {folder}: {existing} is a file")
    _check_access(folder, existing)


def _check_access(path: Path, opened: Path) -> None:
    from hubserve.errors import OutputError
    from hubserve.storage_faults import describe_permissions

    if not os.access(opened, os.W_OK | os.X_OK if opened.is_dir() else os.W_OK):
        read_only = os.statvfs(opened).f_flag & os.ST_RDONLY
        why = "its file system is read-only" if read_only else describe_permissions(opened)
        raise OutputError(f"cannot write {path}: {opened} is not writable: {why}")


def print_facts(title: str, facts: dict[str, Any]) -> None:
    """Names and values, one a line; what is None is left out."""
    print_table(title, ("", ""), [(name, _readable(value)) for name, value in facts.items() if value is not None])


def _readable(value: Any) -> str:
    """A value for a cell: a mapping as one `name = value` a line, a sequence with commas; nested ones on one line."""
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
    """A bar on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
