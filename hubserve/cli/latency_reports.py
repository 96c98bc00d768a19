"""Reports of latency, taken and shown for the commands."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from hubserve.bounded_files import read_bounded_text
from hubserve.cli.lookup_tables import warn_if_of_another_host
from hubserve.cli.output import check_folder_writable, print_table
from hubserve.errors import HubserveError, ProfileError
from hubserve.export.named_source import package_named
from hubserve.hub import get_space
from hubserve.latency.compare import Comparison
from hubserve.latency.profile_package import NOTHING, Details, profile_package
from hubserve.latency.profile_report import ProfileReport
from hubserve.latency.report_rows import host_rows, latency_rows, work_rows
from hubserve.latency.tables.build import default_path
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.package.add_files import add_profile
from hubserve.package.package import MANIFEST, Package
from hubserve.timing import TimingProtocol

MOST_ROWS = 12


@dataclass(frozen=True)
class ProfileOptions:
    """What is measured for a report.

    Attributes:
        batch_size: Images of a call, at least 1.
        threads: Threads that a call may use, at least 1.
        percent: Deepest percentile that is wanted, between 0 and 100.
        seconds: Most seconds to measure latency, for all formats together.
        details: Whether to measure throughput, memory and operators, too.
        openvino: Whether to measure the ONNX file in OpenVINO, too.
        table: Lookup table to compare with; where None, that of this machine if there is one.
    """

    batch_size: int = 1
    threads: int = 1
    percent: float = 99.0
    seconds: float = 60.0
    details: bool = True
    openvino: bool = False
    table: Path | None = None


def measure_package(package: Package, options: ProfileOptions) -> ProfileReport:
    """The report of a package, measured now."""
    chosen = Details() if options.details else NOTHING
    details = replace(chosen, openvino=options.openvino, table=_table(package, options))
    protocol = TimingProtocol(percent=options.percent, max_seconds=options.seconds)
    return profile_package(package, batch_size=options.batch_size, threads=options.threads, protocol=protocol, details=details)


def with_profile(model: str, package: Package) -> Package:
    """The package with its report in it, measured now.

    Raises:
        ProfileError: `model` names a version in the store, which never changes.
    """
    if package_named(model) is not None:  # Else it is a card, exported just now.
        own_folder(model)
        check_folder_writable(Path(model).absolute().parent)
    return add_profile(package, measure_package(package, ProfileOptions()).model_dump_json(indent=2) + "\n")


def own_folder(model: str) -> None:
    """Raises ProfileError unless `model` is a package folder of the user's own, which may be changed."""
    if not (Path(model) / MANIFEST).is_file():
        raise ProfileError(
            f"a report can be put into a package folder only, and {model!r} is none: `hubserve export {model} --profile` "
            "writes one with a report in it; a version in the store never changes"
        )


def read_report(name: str) -> ProfileReport:
    """The report in a JSON file, or in a package or version that holds one.

    Raises:
        ProfileError: none of these.
    """
    path = Path(name)
    try:
        if path.is_file():
            return ProfileReport.model_validate_json(read_bounded_text(path))
        package = package_named(name)
        if package is not None and package.profile is not None:
            return ProfileReport.model_validate(package.profile)
    except (UnicodeDecodeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise ProfileError(f"{name} holds no report that this version reads: {first}; measure again") from error
    raise ProfileError(f"{name} is neither the file of a report nor a package with one; `hubserve profile MODEL --save {name}`")


def print_report(report: ProfileReport) -> None:
    """All of it but the samples, as tables."""
    first = report.formats[0]
    title = f"{report.model}: batch {first.batch_size}, {first.threads} thread(s), {report.host.cpu}"
    print_table(title, ("", *(found.format for found in report.formats)), latency_rows(report))
    print_table("Machine", ("", ""), host_rows(report.host))
    for name, reason in report.left_out.items():
        sys.stderr.write(f"{name} was not measured: {reason}\n")
    if report.sweep is not None:
        points = (*report.sweep.by_batch, *report.sweep.by_threads[1:], *report.sweep.by_sessions[1:])
        rows = [(p.batch_size, p.threads, p.sessions, f"{p.p50_ms:.2f}", f"{p.images_per_second:.1f}") for p in points]
        title = f"Throughput of {report.sweep.format}: batch {report.sweep.knee_batch} reaches 95 % of the best"
        print_table(title, ("batch", "threads", "models side by side", "p50 ms", "images/s"), rows)
    if report.choices:
        shares = [(c.label, c.value, f"{c.ms:.3f}", f"{c.share:.1%}") for c in report.choices[:MOST_ROWS]]
        print_table("Time that depends on each choice, in onnx", ("choice", "value", "ms", "share"), shares)
    for name, operators in report.operators.items():
        found = [(o.operator, o.module or o.name, f"{o.ms:.3f}", f"{o.share:.1%}") for o in operators[:MOST_ROWS]]
        print_table(f"Slowest operations of {name}", ("operation", "module", "ms", "share"), found)
    if report.cost is not None and report.operators:
        print_table("Work of one image", ("", ""), work_rows(report.cost))


def comparison_rows(found: Sequence[Comparison]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows."""
    columns = ("format", "A, ms", "B, ms", "B over A", "99 % interval", "p", "B is")
    return columns, [_comparison_row(comparison) for comparison in found]


def _comparison_row(c: Comparison) -> tuple[str, ...]:
    interval = f"{c.low:.3f} to {c.high:.3f}"
    return c.format, f"{c.a_ms:.3f}", f"{c.b_ms:.3f}", f"{c.ratio:.3f}", interval, f"{c.p_value:.2g}", c.verdict


def warn_if_hosts_differ(a: ProfileReport, b: ProfileReport) -> None:
    """Warns on stderr where two reports are of machines with another CPU or another number of cores."""
    if (a.host.cpu, a.host.cores) != (b.host.cpu, b.host.cores):
        sys.stderr.write(f"A is of {a.host.cpu} ({a.host.cores} cores), B of {b.host.cpu} ({b.host.cores} cores)\n")


def _table(package: Package, options: ProfileOptions) -> LatencyTable | None:
    """The one that was named, or that of this machine where there is one for the package's space, settings and calls."""
    if options.table is not None:
        table = _fitting(package, options, options.table)
        warn_if_of_another_host(options.table, table)
        return table
    manifest, size = package.manifest, package.manifest.preprocess.input_size
    try:
        space = get_space(manifest.space, manifest.settings)
        path = default_path(space, manifest.settings, input_size=size, threads=options.threads, batch_size=options.batch_size)
        table = _fitting(package, options, path)
    except HubserveError:  # None, or a space of somebody else, or a table of another version: nobody asked for it.
        return None
    return table if table.difference_to_host() is None else None


def _fitting(package: Package, options: ProfileOptions, path: Path) -> LatencyTable:
    """The table of a file. Raises ProfileError where its predictions are not of what is measured."""
    table, manifest = LatencyTable.load(path), package.manifest
    table.check_fit(
        path,
        get_space(manifest.space, manifest.settings),
        input_size=manifest.preprocess.input_size,
        threads=options.threads,
        batch_size=options.batch_size,
    )
    if options.batch_size != 1:
        raise ProfileError(f"a table is compared with single images, and batch_size = {options.batch_size}; leave --table out")
    return table
