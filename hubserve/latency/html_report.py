"""Renders a profile as a single HTML page without external resources, so that it can be archived and read offline."""

from markupsafe import Markup

from hubserve.latency.profile_report import ProfileReport, Sweep
from hubserve.latency.report_rows import Rows, host_rows, latency_rows, parity_rows, real_time_rows, work_rows
from hubserve.latency.svg_chart import TEMPLATES, bar_chart, line_chart

MOST_ROWS = 15

Figure = tuple[str, Markup]
"""Pair (caption, SVG markup) of one chart."""


def render_page(report: ProfileReport) -> str:
    """Returns the HTML page of a profile."""
    formats = [found.format for found in report.formats]
    return TEMPLATES.get_template("profile.html.j2").render(
        report=report,
        latency=list(zip(("format", *formats), *latency_rows(report), strict=True)),
        throughput=[_latency_distribution(report), *(_sweeps(report.sweep, report.items) if report.sweep else [])],
        real_time=real_time_rows(report.real_time) if report.real_time is not None else [],
        operators=_operators(report) if report.operators else [],
        work=work_rows(report.cost) if report.cost is not None else [],
        parity=parity_rows(report) if report.parity else [],
        facts=[*host_rows(report.host), *_package_rows(report)],
    )


def _latency_distribution(report: ProfileReport) -> Figure:
    """Draws the cumulative distribution of the measured times, one line for each format.

    The slowest 1 % are left out, as a single outlier would stretch the time axis.
    """
    series = {}
    for found in report.formats:
        ordered = sorted(found.samples_ms)
        series[found.format] = [(ordered[(len(ordered) - 1) * share // 100], float(share)) for share in range(100)]
    return "Share of calls that were at most this slow", _svg(line_chart(series, x="ms", y="% of calls", dots=False))


def _sweeps(swept: Sweep, items: str) -> list[Figure]:
    def points(name: str, x: str) -> list[tuple[float, float]]:
        return [(getattr(point, x), point.images_per_second) for point in getattr(swept, name)]

    by_threads = {
        "threads of one call": points("by_threads", "threads"),
        "models side by side": points("by_sessions", "sessions"),
    }
    by_batch = {swept.format: points("by_batch", "batch_size")}
    return [
        (
            f"Throughput of {swept.format} by batch; batch {swept.knee_batch} reaches 95 % of the best",
            _svg(line_chart(by_batch, x=f"{items} of a call", y=f"{items}/s", doubling=True)),
        ),
        ("Throughput by threads, batch 1", _svg(line_chart(by_threads, x="threads, or models", y=f"{items}/s", doubling=True))),
    ]


def _operators(report: ProfileReport) -> list[Figure]:
    charts = {}
    if report.choices:
        title = "Time that depends on each choice; an operation that depends on several counts for each"
        charts[title] = [(f"{row.label} = {row.value}", row.ms) for row in report.choices[:MOST_ROWS]]
    for name, rows in report.operators.items():
        named = [(f"{row.operator} {row.module or row.name}".strip(), row.ms) for row in rows[:MOST_ROWS]]
        charts[f"Slowest operations of {name}"] = named
    return [(title, _svg(bar_chart(bars, unit="ms"))) for title, bars in charts.items()]


def _package_rows(report: ProfileReport) -> Rows:
    files = [(f"{a.format} from {a.file}", f"{a.runtime}; {a.made or ''} sha256 {a.sha256}") for a in report.artefacts]
    return [
        ("weights", report.weights_sha256),
        ("input", f"{report.input.name} {report.input.dtype} {report.input.shape}"),
        *((("preprocessing", str(report.preprocess.model_dump())),) if report.preprocess is not None else ()),
        *(((f"length of {axis}", str(length)) for axis, length in report.lengths.items())),
        *files,
    ]


def _svg(chart: str) -> Markup:
    """Marks the SVG text of a chart as safe HTML; the template of the chart has escaped all text in it."""
    return Markup(chart)
