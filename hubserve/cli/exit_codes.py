"""Exit codes of commands, and how exceptions become exit codes: `CommandGroup` prints an error on stderr and exits with 2."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn, get_args

import typer
from typer.models import CommandFunctionType, ParameterInfo

from hubserve.cli.output import print_json, warnings_on_stderr
from hubserve.printable_streams import make_streams_printable

NEGATIVE_RESULT = 1
"""Exit code of a comparison or check whose result is negative, for example a model that became slower.

A bug of hubserve also ends a command with 1, after its traceback.
"""

BAD_INPUT = 2
"""Exit code for an error that the user can correct, such as a wrong option or a file that cannot be read."""

NOTHING_FEASIBLE = 3
"""Exit code of a search in which no arch meets the constraints."""

INTERRUPTED = 130
"""Exit code of a job that was stopped by Ctrl+C or SIGTERM."""


class CommandGroup(typer.Typer):
    """A typer app whose commands print errors that the user can correct on stderr and end with exit code `BAD_INPUT`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        make_streams_printable()
        return super().__call__(*args, **kwargs)

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
    """Returns the command wrapped so that `fail` reports the errors that the user can correct; other errors are passed on.

    The user can correct the exceptions of hubserve, pydantic's validation errors, full or read-only disks, and errors of the
    file system that name a file. The wrapped command reads its argument `as_json`, if it has one, to choose the output.
    """

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        from pydantic import ValidationError

        from hubserve.errors import HubserveError, OutputError
        from hubserve.storage_faults import storage_error, with_denial

        as_json = bool(kwargs.get("as_json"))
        try:
            with warnings_on_stderr():
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
                # The user named this file or folder, or it is beside one that the user named.
                fail(OutputError(f"{error.filename}: {error.strerror}"), as_json=as_json)
            raise

    return run  # type: ignore[return-value]


def fail(error: Exception, *, as_json: bool) -> NoReturn:
    """Prints an error on stderr and ends the command with exit code `BAD_INPUT`.

    Args:
        error: The error to report.
        as_json: Also prints the type and message of the error as a JSON document on stdout.

    Raises:
        typer.Exit: Always.
    """
    if as_json:
        print_json({"error": error_entry(error)})
    print_error(error)
    raise typer.Exit(BAD_INPUT)


def error_entry(error: Exception) -> dict[str, str]:
    """Returns the type and the message of an error, for a JSON document."""
    return {"type": type(error).__name__, "message": _message(error)}


def print_error(error: Exception) -> None:
    """Prints the type and the message of an error on stderr."""
    from rich.console import Console
    from rich.markup import escape

    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]{type(error).__name__}[/red]: {escape(_message(error))}")


def _message(error: Exception) -> str:
    """Returns the first argument of an exception as text; if it has no arguments, returns `str(error)`."""
    return str(error.args[0]) if error.args else str(error)
