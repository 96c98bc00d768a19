"""Carries out `hubserve profile MODEL DATA --all-formats`: measures every format of a model and prints one table."""

import sys
from collections.abc import Mapping
from pathlib import Path

from hubserve.atomic import staged_result
from hubserve.cli.latency_reports import ProfileOptions
from hubserve.cli.output import print_json, print_table
from hubserve.cli.output_files import check_writable
from hubserve.errors import ProfileError
from hubserve.export.named_source import named_source
from hubserve.latency.all_formats import profile_all_formats
from hubserve.latency.format_table import FormatRow, FormatTable
from hubserve.package.run_limit import interruptible

COLUMNS = ("format", "MiB", "top-1 %", "p50 ms", "peak MiB", "error / sd", "same")
"""Columns of the table; `FormatRow` says what is in them, and has more. In 80 characters, a row is one line."""

MARKS = {"stable": "", "noisy": " ~", "unstable": " !"}
"""Verdict on a latency -> the mark behind it."""


def check_without_effect(options: Mapping[str, bool], why: str) -> None:
    """Raises ProfileError, with the reason `why`, if one of the options was given; `options` is option -> whether it was."""
    for option, given in options.items():
        if given:
            raise ProfileError(f"{option} has no effect here: {why}")


def profile_formats(
    model: str,
    data: str | None,
    options: ProfileOptions,
    *,
    max_images: int,
    save: Path | None,
    trusted: bool,
    as_json: bool,
) -> None:
    """Exports the model that `model` names in every format, measures those that work here, and prints the table.

    Args:
        model: Package folder, alias, name or tag in the store, or pre-searched model.
        data: Folder, listing or address of images; None measures no accuracy.
        options: Number of images and threads of a call, time for the latency, and, as `details`, whether to measure memory; the
            other options have no effect.
        max_images: Largest number of these images to use.
        save: File for the table as JSON; None writes none.
        trusted: Whether the model space that a package names is imported even if this user did not write the package.
        as_json: Whether to print a JSON document in place of the table.

    Raises:
        HubserveError: The model or the images cannot be found, no format works, a measurement failed, or `save` cannot be
            written.
    """
    check_writable(save)
    source = named_source(model, trusted=trusted)
    with interruptible():
        table = profile_all_formats(
            source,
            data=data,
            max_images=max_images,
            batch_size=options.batch_size,
            threads=options.threads,
            seconds=options.seconds,
            memory=options.details,
        )
    if save is not None:
        with staged_result(save) as unfinished:
            unfinished.write_text(table.model_dump_json(indent=2) + "\n", "utf-8")
    if as_json:
        print_json(table.model_dump(mode="json"))
    else:
        print_all_formats(table)


def print_all_formats(table: FormatTable) -> None:
    """Prints the table of the formats that work, and one of those that do not; notes go to stderr."""
    title = f"{table.model}: batch {table.batch_size}, {table.threads} thread(s), {table.host.cpu}; ~ noisy, ! unstable"
    interval = table.rows[0].top1_interval
    if interval is not None:
        low, high = (f"{100 * end:.1f}" for end in interval)
        title += f"; top-1 on {table.labelled_images} images of {table.data} (95 % interval of eager PyTorch {low} to {high})"
    print_table(title, COLUMNS, [_cells(row) for row in table.rows])
    if table.failed:
        print_table("Not here", ("format", "why"), list(table.failed.items()))
    if table.accuracy_unknown is not None:
        sys.stderr.write(f"the accuracy is not known: {table.accuracy_unknown}\n")


def _cells(row: FormatRow) -> tuple[str, ...]:
    return (
        row.format,
        f"{row.file_bytes / 2**20:.2f}",
        "" if row.top1 is None else f"{100 * row.top1:.1f}",
        "n/a" if row.p50_ms is None else f"{row.p50_ms:.3g}{MARKS[row.verdict]}",
        "" if row.peak_mib is None else f"{row.peak_mib:.0f} (+{row.model_mib:.0f})",
        "" if row.error is None else f"{row.error:.1e}",
        "" if row.same_top1 is None else f"{row.same_top1:.{0 if row.same_top1 == 1 else 1}%}",
    )
