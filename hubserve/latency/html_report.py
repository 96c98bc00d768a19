"""A profile as one HTML file: nothing is fetched, so it can be sent, archived, and looked at offline."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from hubserve.latency.profile_report import ProfileReport, Sweep
from hubserve.latency.svg_chart import bar_chart, line_chart
from hubserve.timing import Percentile

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #111827; max-width: 1180px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .7rem; border-bottom: 1px solid #e5e7eb; text-align: left; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } caption { text-align: left; color: #4b5563; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(480px, 1fr)); gap: 1rem 2rem; }
.scroll { overflow-x: auto; } svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #374151; }
.stable { color: #047857; } .noisy { color: #b45309; } .unstable { color: #b91c1c; } p.note { color: #4b5563; }
"""
MOST_ROWS = 15


def render_page(report: ProfileReport) -> str:
    """The whole page."""
    title = f"Latency of {report.model}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p class='note'>{escape(report.created)} · {escape(report.host.cpu)}, {report.host.cores} cores · "
        f"batch {report.forms[0].batch_size}, {report.forms[0].threads} thread(s)</p>",
        _latency(report),
        "<div class='grid'>",
        _figure("Share of calls that were at most this slow", _distribution(report)),
        *([_figure(caption, chart) for caption, chart in _sweeps(report.sweep)] if report.sweep else []),
        "</div>",
        _where(report),
        _costs(report),
        _parity(report),
        _facts(report),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        f"<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'/>\n<title>{escape(title)}</title>\n"
        f"<meta name='viewport' content='width=device-width, initial-scale=1'/>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _latency(report: ProfileReport) -> str:
    memory = {entry.form: f"{entry.delta_mib:.1f}" for entry in report.memory}
    size = {entry.form: f"{entry.bytes / 2**20:.2f}" for entry in report.artefacts}
    percents = [p.percent for p in report.forms[0].percentiles]
    columns = ["form", "calls", *(f"p{p:g} ms" for p in percents), "mean ms", "sd ms", "images/s", "load ms", "first call ms"]
    rows = [
        [
            form.form,
            f"{form.n:,}",
            *(_percentile(p) for p in form.percentiles),
            f"{form.mean_ms:.3g}",
            f"{form.sd_ms:.2g}",
            f"{form.images_per_second:.4g}",
            f"{form.load_ms:.0f}",
            f"{form.first_call_ms:.1f}",
            size.get(form.form, ""),
            memory.get(form.form, ""),
            f"ended by {form.stopped_by}, warm-up {form.warm_up_ended}",
            f"\0{form.verdict}",
        ]
        for form in report.forms
    ]
    columns += ["file MiB", "memory MiB", "measuring", "verdict"]
    note = "In brackets: the bound that the true percentile does not exceed, with 99 % confidence."
    left_out = "".join(f"<p class='note'>{escape(form)}: {escape(why)}</p>" for form, why in report.left_out.items())
    return f"<h2>Latency</h2>{_table(columns, rows, note)}{left_out}"


def _percentile(found: Percentile) -> str:
    return f"n/a (needs {found.needs:,})" if found.value is None else f"{found.value:.3g} ({found.upper_bound:.3g})"


def _distribution(report: ProfileReport) -> str:
    """Up to the 99th of a hundred: one slow call in thousands would squeeze all others into a line."""
    series = {}
    for form in report.forms:
        ordered = sorted(form.samples_ms)
        series[form.form] = [(ordered[(len(ordered) - 1) * share // 100], float(share)) for share in range(0, 100, 1)]
    return line_chart(series, x="ms", y="% of calls", dots=False)


def _sweeps(swept: Sweep) -> list[tuple[str, str]]:
    def points(name: str, x: str) -> list[tuple[float, float]]:
        return [(getattr(point, x), point.images_per_second) for point in getattr(swept, name)]

    by_threads = {"one call on so many threads": points("by_threads", "threads")}
    by_threads["so many models side by side"] = points("by_sessions", "sessions")
    return [
        (
            f"Throughput of {swept.form} by batch; batch {swept.knee_batch} reaches 95 % of the best",
            line_chart({swept.form: points("by_batch", "batch_size")}, x="pictures of a call", y="images/s", doubling=True),
        ),
        (
            "Throughput by threads, batch 1",
            line_chart(by_threads, x="threads, or models", y="images/s", doubling=True),
        ),
    ]


def _where(report: ProfileReport) -> str:
    if not report.operators:
        return ""
    figures = []
    if report.choices:
        rows = [(f"{row.label} = {row.value}", row.ms) for row in report.choices[:MOST_ROWS]]
        figures.append(
            _figure(
                "What each choice costs; an operation that several decide about counts for each", bar_chart(rows, unit="ms")
            )
        )
    for form, operators in report.operators.items():
        named = [(f"{row.operator} {row.module or row.name}".strip(), row.ms) for row in operators[:MOST_ROWS]]
        figures.append(_figure(f"Slowest operations of {form}", bar_chart(named, unit="ms")))
    return f"<h2>Where the time goes</h2><div class='grid'>{''.join(figures)}</div>"


def _costs(report: ProfileReport) -> str:
    cost = report.cost
    if cost is None:
        return ""
    rows = [
        ["parameters", f"{cost.params:,}"],
        ["multiply-accumulates", f"{cost.macs:,}"],
        ["bytes moved", f"{cost.bytes_moved:,}"],
        ["multiply-accumulates a byte", f"{cost.macs_per_byte:.2f}"],
    ]
    if cost.gmacs_per_second is not None:
        rows.append(["reached", f"{cost.gmacs_per_second:.2f} GMAC/s"])
    if cost.predicted_ms is not None:
        error = "" if cost.prediction_error is None else f" ({cost.prediction_error:+.1%} of what was measured)"
        rows.append(["predicted by the lookup table", f"{cost.predicted_ms:.3g} ms{error}"])
    return f"<h2>Work of one picture</h2>{_table(['', ''], rows)}"


def _parity(report: ProfileReport) -> str:
    rows = [
        [
            r.format,
            f"{sum(r.batches)}",
            f"{r.max_abs_error:.2g}",
            "best classes" if r.tolerance is None else f"{r.tolerance * r.scale:.2g}",
            f"{r.cosine:.6f}",
            f"{r.top1_agreement:.1%}",
            "" if r.truth is None else f"{r.truth.top1:.1f} % (eager {r.truth.reference_top1:.1f} %)",
            "yes" if r.passed else "no",
        ]
        for r in report.parity
    ]
    columns = ["form", "pictures", "largest error", "allowed", "cosine", "same top-1", "top-1", "passed"]
    return f"<h2>As eager PyTorch</h2>{_table(columns, rows)}" if rows else ""


def _facts(report: ProfileReport) -> str:
    host, rules = report.host.model_dump(), report.rules
    rows = [[name, str(value)] for name, value in host.items() if value not in (None, {}, ())]
    rows += [["weights", report.weights_sha256], ["input", f"{report.input.name} {report.input.dtype} {report.input.shape}"]]
    rows += [["preprocessing", str(report.preprocess.model_dump())]]
    rows += [[f"{a.form} from {a.file}", f"{a.runtime}; {a.made or ''} sha256 {a.sha256}"] for a in report.artefacts]
    rule = (
        f"Each form was warmed up until the median of ten calls changed by less than {rules.steady:.0%}, for at most "
        f"{rules.max_warm_up} calls. Then the forms took turns of {rules.turns} calls, in random order, until there were "
        f"enough for the percentile {rules.deepest_percent:g} and the median was known to {rules.steady:.0%}, or "
        f"{rules.max_seconds:g} s were over."
    )
    return f"<h2>Machine and protocol</h2><p class='note'>{escape(rule)}</p>{_table(['', ''], rows)}"


def _figure(caption: str, chart: str) -> str:
    return f"<figure style='margin:0'><figcaption>{escape(caption)}</figcaption>{chart}</figure>"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    head = "".join(f"<th{_right(name)}>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(_cell(cell, column) for cell, column in zip(row, columns, strict=True)) + "</tr>" for row in rows
    )
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<div class='scroll'><table>{said}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(text: str, column: str) -> str:
    if text.startswith("\0"):  # A verdict, which has a colour.
        return f"<td class='{escape(text[1:])}'>{escape(text[1:])}</td>"
    return f"<td{_right(column)}>{escape(text)}</td>"


def _right(column: str) -> str:
    return " class='n'" if column not in ("", "form", "measuring", "verdict", "passed", "top-1") else ""
