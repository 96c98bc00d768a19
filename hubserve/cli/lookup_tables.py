"""Finds the lookup table that the options of a command mean, and formats tables and their results for printing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubserve.cli.model_options import read_json
from hubserve.cli.output import progress_bar
from hubserve.errors import ProfileError
from hubserve.hub import HubSpace, get_space
from hubserve.latency.lengths import space_lengths
from hubserve.latency.tables.build import Progress, default_path
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.latency.tables.limit_check import Feasibility
from hubserve.latency.tables.records import TableError
from hubserve.package.signature import phrase_of


@dataclass(frozen=True)
class Subject:
    """Space and calls for which a lookup table is built or used, and the file of the table.

    Attributes:
        space: Model space with its settings.
        settings: Settings of the space, by name.
        input_size: Height and width of the images, in pixels; None if the networks take other inputs.
        lengths: Length of each named axis of other inputs; empty for images.
        threads: Number of threads that a call may use.
        batch_size: Number of images, or rows of inputs, in a call.
        path: File of the table.
    """

    space: HubSpace
    settings: dict[str, Any]
    input_size: int | None
    lengths: dict[str, int]
    threads: int
    batch_size: int
    path: Path

    @classmethod
    def from_options(
        cls,
        space: str,
        settings: Path | None,
        *,
        input_size: int | None,
        length: Sequence[str] | None = None,
        threads: int,
        batch_size: int,
        table: Path | None,
    ) -> Subject:
        """Makes a subject from the options of a command.

        Args:
            space: Name or import path of the model space.
            settings: JSON file with settings of the space; None takes the defaults.
            input_size: Height and width of the images, in pixels; None takes that of the space.
            length: Texts "AXIS=NUMBER": lengths of the named axes of other inputs; those that are missing are the usual ones.
            threads: Number of threads that a call may use.
            batch_size: Number of images, or rows of inputs, in a call.
            table: File of the table; None takes the default one.

        Raises:
            SpaceError: There is no such space or setting, or a value is not allowed.
            ProfileError: The networks of the space take no images and `input_size` is given, or a length is not allowed.
            ArchError: The file of settings cannot be read, or is not a JSON object.
        """
        given = read_json(settings)
        built = get_space(space, given)
        if input_size is not None and not built.takes_images:
            raise ProfileError(
                f"--input-size is the size of images, and the networks of {space} take {phrase_of(built.inputs)}: "
                "give --length AXIS=NUMBER"
            )
        size = input_size or built.input_size if built.takes_images else None
        lengths = space_lengths(built, named_lengths(length or ()))
        path = table or default_path(built, given, input_size=size, threads=threads, batch_size=batch_size, lengths=lengths)
        return cls(built, given, size, lengths, threads, batch_size, path)

    def load(self) -> LatencyTable:
        """Reads the table, and prints a warning on stderr if it is of another machine.

        Raises:
            ProfileError: The file does not exist, is not a lookup table, or is one of another space or for other calls.
        """
        table = LatencyTable.load(self.path)
        table.check_fit(
            self.path,
            self.space,
            input_size=self.input_size,
            threads=self.threads,
            batch_size=self.batch_size,
            lengths=self.lengths,
        )
        warn_if_of_another_host(self.path, table)
        return table


def named_lengths(given: Sequence[str]) -> dict[str, int]:
    """Returns the lengths of axes that the option --length gives as texts "AXIS=NUMBER".

    Raises:
        ProfileError: A text is not NAME=NUMBER.
    """
    found = {}
    for text in given:
        axis, _, number = text.partition("=")
        if not axis or not number.isdecimal():
            raise ProfileError(f"--length {text!r}: give the name of an axis and its length, such as --length length=128")
        found[axis] = int(number)
    return found


def warn_if_of_another_host(path: Path, table: LatencyTable) -> None:
    """Prints a warning on stderr if a table was measured on another machine or with another ONNX Runtime."""
    difference = table.difference_to_host()
    if difference is not None:
        sys.stderr.write(f"{path} was {difference}: what it predicts is not of this machine\n")


def table_facts(path: Path, table: LatencyTable) -> dict[str, Any]:
    """Returns the properties of a lookup table to print, by name."""
    c = table.calibration
    return {
        "file": str(path),
        "machine": f"{table.host.cpu}, {table.host.cores} cores",
        "input": _input_phrase(table),
        "threads": table.threads,
        "operations": len(table.operations),
        "networks": len(table.networks),
        "calibration": (
            f"{c.conv:.3f} x convolutions + {c.other:.3f} x the rest + {c.weight_ms:.3f} ms a million weights + "
            f"{c.step_ms * 1e3:.2f} us a step + {c.offset_ms:.3f} ms"
        ),
        **(error_facts(table.error) if table.error else {}),
    }


def _input_phrase(table: LatencyTable) -> str:
    """Returns the inputs that a table is for, such as "1 x 3 x 224 x 224" or "1, length 32"."""
    if table.input_size is not None:
        return f"{table.batch_size} x 3 x {table.input_size} x {table.input_size}"
    return ", ".join([str(table.batch_size), *(f"{axis} {length}" for axis, length in table.lengths.items())])


def error_facts(error: TableError) -> dict[str, Any]:
    """Returns the error of a lookup table to print, by name."""
    return {
        "networks it never saw": error.networks,
        "rank correlation (Spearman)": None if error.spearman is None else f"{error.spearman:.3f}",
        "within 10 %": f"{error.within_10:.0%}",
        "mean error": f"{error.mean_error:.1%}",
        "largest error": f"{error.worst_error:.1%}",
    }


def feasibility_facts(found: Feasibility) -> dict[str, Any]:
    """Returns the result of the check of a limit to print, by name."""
    low, high = found.share_interval
    return {
        "random archs that meet it": f"{found.share:.1%} of {found.drawn} (95 % interval {low:.1%} to {high:.1%})",
        "fastest arch found": f"{found.fastest_ms:.3f} ms: {found.fastest}",
        **{f"{share:.0%} of random archs stay below": f"{ms:.3f} ms" for share, ms in found.quantiles.items()},
    }


@contextmanager
def moving_bar() -> Iterator[Progress]:
    """Context manager that yields a `Progress` function; it shows a new progress bar for each kind of measurement."""
    what, shown = "", 0
    advance: Callable[[int], None]
    with ExitStack() as bars:

        def progress(now: str, done: int, total: int) -> None:
            nonlocal what, shown, advance
            if now != what:
                bars.close()
                what, shown, advance = now, 0, bars.enter_context(progress_bar(now, total))
            advance(done - shown)
            shown = done

        yield progress
