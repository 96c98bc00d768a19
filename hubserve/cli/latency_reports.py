"""Measures, reads and prints latency profiles for `hubserve profile` and for the option --profile of other commands."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import ValidationError

from hubserve.bounded_files import read_bounded_text
from hubserve.cli.lookup_tables import warn_if_of_another_host
from hubserve.cli.output import print_table
from hubserve.cli.output_files import check_folder_writable
from hubserve.errors import HubserveError, ProfileError
from hubserve.export.named_package import package_named
from hubserve.hub.package_space import package_space
from hubserve.latency.compare import Comparison
from hubserve.latency.profile_package import NOTHING, Details, profile_package
from hubserve.latency.profile_report import ProfileReport
from hubserve.latency.report_rows import host_rows, latency_rows, real_time_rows, work_rows
from hubserve.latency.tables.build import default_path
from hubserve.latency.tables.latency_table import LatencyTable
from hubserve.package.add_files import add_profile
from hubserve.package.package import MANIFEST, Package
from hubserve.timing import TimingProtocol
from hubserve.validation_sentence import first_mistake

MOST_ROWS = 12


@dataclass(frozen=True)
class ProfileOptions:
    """Options of `hubserve profile`: what is measured, and for how long.

    Attributes:
        batch_size: Number of images, or rows of other inputs, in a call, at least 1.
        threads: Number of threads that a call may use, at least 1.
        percent: Highest percentile to estimate, in (0, 100).
        seconds: Longest time in seconds to measure latency, for all formats together.
        details: Whether to also measure throughput, memory and operators.
        openvino: Whether to also measure the ONNX file with OpenVINO.
        table: File of the lookup table whose prediction is compared; None takes the default one if it exists and is of this
            machine.
        lengths: Lengths of the inputs' named axes besides "batch"; those that are missing are the usual ones.
    """

    batch_size: int = 1
    threads: int = 1
    percent: float = 99.0
    seconds: float = 60.0
    details: bool = True
    openvino: bool = False
    table: Path | None = None
    lengths: Mapping[str, int] = field(default_factory=dict)


def measure_package(package: Package, options: ProfileOptions) -> ProfileReport:
    """Measures the profile of a package and returns it.

    Raises:
        ProfileError: An option is out of range, a measurement failed, or the lookup table does not fit.
        PackageError: The PyTorch module cannot be rebuilt.
        WeightsError: The weights cannot be read, or do not fit the network.
        ExportError: A format cannot be loaded or run.
    """
    chosen = Details() if options.details else NOTHING
    details = replace(chosen, openvino=options.openvino, table=_table(package, options))
    protocol = TimingProtocol(percent=options.percent, max_seconds=options.seconds)
    return profile_package(
        package,
        batch_size=options.batch_size,
        threads=options.threads,
        protocol=protocol,
        details=details,
        lengths=options.lengths,
    )


def with_profile(model: str, package: Package) -> Package:
    """Measures the profile of a package, adds it to the package, and returns the changed package.

    Args:
        model: Name by which the user named the package; a card means that `package` was exported just now.
        package: Package to measure.

    Raises:
        ProfileError: `model` names a version in the store, which must not be changed, or a measurement failed.
        OutputError: The folder of the package cannot be replaced.
        HubserveError: The package cannot be measured, as in `measure_package`.
    """
    if package_named(model) is not None:  # None means a card, whose package is in a temporary folder.
        own_folder(model)
        check_folder_writable(Path(model).absolute().parent)
    return add_profile(package, measure_package(package, ProfileOptions()).model_dump_json(indent=2) + "\n")


def own_folder(model: str) -> None:
    """Raises ProfileError unless `model` is the path of a package folder; a version in the store must not be changed."""
    if not (Path(model) / MANIFEST).is_file():
        raise ProfileError(
            f"a report can be put into a package folder only, and {model!r} is none: `hubserve export {model} --profile` "
            "writes one with a report in it; a version in the store never changes"
        )


def read_report(name: str) -> ProfileReport:
    """Reads the profile in a JSON file, or in a package that has one.

    Args:
        name: Path of the file, or a package folder, an alias, or a name or tag in the store.

    Raises:
        ProfileError: There is no such file or package, or it has no profile that this version can read.
        PackageError: `name` has a "/" and is neither a file nor a package folder, or the package is incomplete.
        ModelNotFoundError: `name` is an alias whose version was deleted.
    """
    path = Path(name)
    try:
        if path.is_file():
            return ProfileReport.model_validate_json(read_bounded_text(path))
        package = package_named(name)
        if package is not None and package.profile is not None:
            return ProfileReport.model_validate(package.profile)
    except (UnicodeDecodeError, ValidationError) as error:
        first = first_mistake(error) if isinstance(error, ValidationError) else error
        raise ProfileError(f"{name} holds no report that this version reads: {first}; measure again") from error
    raise ProfileError(f"{name} is neither the file of a report nor a package with one; `hubserve profile MODEL --save {name}`")


def print_report(report: ProfileReport) -> None:
    """Prints a profile as tables, without the samples; notes about formats that were not measured go to stderr."""
    first = report.formats[0]
    lengths = "".join(f"{axis} {length}, " for axis, length in report.lengths.items())
    title = f"{report.model}: batch {first.batch_size}, {lengths}{first.threads} thread(s), {report.host.cpu}"
    print_table(title, ("", *(found.format for found in report.formats)), latency_rows(report))
    print_table("Machine", ("", ""), host_rows(report.host))
    for name, reason in report.left_out.items():
        sys.stderr.write(f"{name} was not measured: {reason}\n")
    if report.sweep is not None:
        points = (*report.sweep.by_batch, *report.sweep.by_threads[1:], *report.sweep.by_sessions[1:])
        rows = [(p.batch_size, p.threads, p.sessions, f"{p.p50_ms:.2f}", f"{p.images_per_second:.1f}") for p in points]
        title = f"Throughput of {report.sweep.format}: batch {report.sweep.knee_batch} reaches 95 % of the best"
        print_table(title, ("batch", "threads", "models side by side", "p50 ms", f"{report.items}/s"), rows)
    if report.real_time is not None:
        columns, *rows_of_time = real_time_rows(report.real_time)
        title = f"Seconds of compute for a second of {report.real_time.output}, {report.real_time.format}"
        print_table(f"{title}, {report.real_time.threads} thread(s)", columns, rows_of_time)
    if report.choices:
        shares = [(c.label, c.value, f"{c.ms:.3f}", f"{c.share:.1%}") for c in report.choices[:MOST_ROWS]]
        print_table("Time that depends on each choice, in onnx", ("choice", "value", "ms", "share"), shares)
    for name, operators in report.operators.items():
        found = [(o.operator, o.module or o.name, f"{o.ms:.3f}", f"{o.share:.1%}") for o in operators[:MOST_ROWS]]
        print_table(f"Slowest operations of {name}", ("operation", "module", "ms", "share"), found)
    if report.cost is not None and report.operators:
        print_table(f"Work of one {report.items[:-1]}", ("", ""), work_rows(report.cost))


def comparison_rows(found: Sequence[Comparison]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Returns the columns and rows of a table of comparisons."""
    columns = ("format", "A, ms", "B, ms", "B over A", "99 % interval", "p", "B is")
    return columns, [_comparison_row(comparison) for comparison in found]


def _comparison_row(c: Comparison) -> tuple[str, ...]:
    interval = f"{c.low:.3f} to {c.high:.3f}"
    return c.format, f"{c.a_ms:.3f}", f"{c.b_ms:.3f}", f"{c.ratio:.3f}", interval, f"{c.p_value:.2g}", c.verdict


def warn_if_hosts_differ(a: ProfileReport, b: ProfileReport) -> None:
    """Prints a warning on stderr if two profiles were measured with different CPUs or numbers of cores."""
    if (a.host.cpu, a.host.cores) != (b.host.cpu, b.host.cores):
        sys.stderr.write(f"A is of {a.host.cpu} ({a.host.cores} cores), B of {b.host.cpu} ({b.host.cores} cores)\n")


def _table(package: Package, options: ProfileOptions) -> LatencyTable | None:
    """Returns the lookup table to compare a profile with, or None.

    It is the one that `options.table` names, or else the default one if it exists, fits the package and the options, and was
    measured on this machine. Raises ProfileError if the named one cannot be read or does not fit.
    """
    if options.table is not None:
        table = _fitting(package, options, options.table)
        warn_if_of_another_host(options.table, table)
        return table
    manifest = package.manifest
    try:
        path = default_path(
            package_space(package),
            manifest.settings,
            input_size=manifest.image_preprocess.input_size if manifest.classifies_images else None,
            threads=options.threads,
            batch_size=options.batch_size,
            lengths=options.lengths,
        )
        table = _fitting(package, options, path)
    except HubserveError:  # The user did not ask for a table, so one that is missing or does not fit is not reported.
        return None
    return table if table.difference_to_host() is None else None


def _fitting(package: Package, options: ProfileOptions, path: Path) -> LatencyTable:
    """Reads a lookup table and returns it.

    Raises ProfileError if it cannot be read or does not fit the package and the options, or the batch size is not 1, and
    PackageError or SpaceError if the space of the package cannot be made.
    """
    table, manifest = LatencyTable.load(path), package.manifest
    table.check_fit(
        path,
        package_space(package),
        input_size=manifest.image_preprocess.input_size if manifest.classifies_images else None,
        threads=options.threads,
        batch_size=options.batch_size,
        lengths=options.lengths,
    )
    if options.batch_size != 1:
        raise ProfileError(f"a table is of batch size 1, and batch_size = {options.batch_size}; leave --table out")
    return table
