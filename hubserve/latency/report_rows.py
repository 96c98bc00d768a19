"""Formats a profile as rows of text, from which the command line and the HTML report make tables."""

from hubserve.host import Host
from hubserve.latency.profile_report import NetworkCost, ProfileReport, RealTime, RealTimePoint
from hubserve.package.parity import ParityReport
from hubserve.timing import Percentile

STOPS = {"samples": "enough calls", "max_seconds": "time"}
WARM_UPS = {"steady": "steady", "cap": "not steady"}

Rows = list[tuple[str, ...]]


def latency_rows(report: ProfileReport) -> Rows:
    """Returns one row for each quantity: its name, and its value for each format.

    A percentile has its upper bound in brackets; with too few samples it is "n/a" with the number of samples needed.
    """
    found = report.formats
    memory = {row.format: f"{row.peak_mib:.0f} (+{row.delta_mib:.0f})" for row in report.memory}
    sizes = {row.format: f"{row.bytes / 2**20:.2f}" for row in report.artefacts}
    rows: Rows = [("calls measured", *(str(row.n) for row in found))]
    for place, percent in enumerate(p.percent for p in found[0].percentiles):
        rows.append((f"p{percent:g} ms", *(_percentile(row.percentiles[place]) for row in found)))
    rows += [
        ("mean ms", *(_ms(row.mean_ms) for row in found)),
        ("sd ms", *(_ms(row.sd_ms) for row in found)),
        (f"{report.items}/s", *(f"{row.images_per_second:.1f}" for row in found)),
        ("stopped by", *(STOPS[row.stopped_by] for row in found)),
        ("warm-up calls", *(f"{row.warm_up_calls} ({WARM_UPS[row.warm_up_ended]})" for row in found)),
        ("load ms", *(f"{row.load_ms:.0f}" for row in found)),
        ("first call ms", *(f"{row.first_call_ms:.0f}" for row in found)),
        ("file MiB", *(sizes.get(row.format, "") for row in found)),
    ]
    if memory:
        rows.append(("peak memory MiB", *(memory.get(row.format, "") for row in found)))
    return [*rows, ("verdict", *(row.verdict for row in found))]


def _percentile(found: Percentile) -> str:
    if found.value is None or found.upper_bound is None:
        return f"n/a (needs {found.needs})"
    return f"{_ms(found.value)} (<= {_ms(found.upper_bound)})"


def _ms(value: float) -> str:
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def work_rows(cost: NetworkCost) -> Rows:
    """Returns the cost of a call with one image, or one row of other inputs, as rows (name, value)."""
    rows: Rows = [
        ("parameters", f"{cost.params:,}"),
        ("multiply-accumulates", f"{cost.macs:,}"),
        ("bytes moved", f"{cost.bytes_moved:,}"),
        ("multiply-accumulates a byte", f"{cost.macs_per_byte:.2f}"),
    ]
    if cost.gmacs_per_second is not None:
        rows.append(("reached, GMAC/s", f"{cost.gmacs_per_second:.1f}"))
    if cost.predicted_ms is not None:
        error = "" if cost.prediction_error is None else f" ({cost.prediction_error:+.1%})"
        rows.append(("predicted by the lookup table, ms", f"{cost.predicted_ms:.2f}{error}"))
    return rows


def real_time_rows(found: RealTime) -> Rows:
    """Returns real-time factors: a row of column names, then one row for each length of the inputs."""
    axes = tuple(found.points[0].lengths)
    columns = (*axes, f"seconds of {found.output}", "p50 ms", "real-time factor")
    return [columns, *(_real_time_row(point) for point in found.points)]


def _real_time_row(point: RealTimePoint) -> tuple[str, ...]:
    factor = "n/a" if point.factor is None else f"{point.factor:.4f}"
    return (*map(str, point.lengths.values()), f"{point.output_seconds:.2f}", _ms(point.p50_ms), factor)


def parity_rows(report: ProfileReport) -> Rows:
    """Returns the comparison of each format with eager PyTorch: a row of column names, then one row for each format."""
    columns = ("format", report.items, "largest error", "allowed", "cosine", "same top-1", "top-1", "passed")
    return [columns, *map(_parity_row, report.parity)]


def _parity_row(r: ParityReport) -> tuple[str, ...]:
    return (
        r.format,
        f"{sum(r.batches)}",
        f"{r.max_abs_error:.2g}",
        "best classes" if r.tolerance is None else f"{r.tolerance * r.scale:.2g}",
        f"{r.cosine:.6f}",
        f"{r.top1_agreement:.1%}",
        "" if r.truth is None else f"{r.truth.top1:.1f} % (eager {r.truth.reference_top1:.1f} %)",
        "yes" if r.passed else "no",
    )


def host_rows(host: Host) -> Rows:
    """Returns the properties of a machine that affect times as rows (name, value), without those that are not known."""
    quota = "" if host.cpu_quota is None else f", of which the container may use {host.cpu_quota:g}"
    known = {
        "cpu": host.cpu,
        "cores": f"{host.cores}{quota}{', two may share one' if host.smt else ''}",
        "clock, MHz": None if host.mhz is None else f"{host.mhz:.0f}",
        "governor": host.governor,
        "vector extensions": " ".join(host.flags),
        "memory, GiB": None if host.memory_gib is None else f"{host.memory_gib:g}",
        "load before": None if host.load_before is None else f"{host.load_before:g}",
        "system": f"{host.system}{', in a container' if host.container else ''}",
        "gpu": host.gpu and f"{host.gpu}, {host.gpu_driver}",
        "environment": " ".join(f"{name}={value}" for name, value in host.environment.items()),
        "software": ", ".join(f"{name} {version}" for name, version in host.versions.items()),
    }
    return [(name, value) for name, value in known.items() if value]
