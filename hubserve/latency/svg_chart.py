"""Draws small line and bar charts as SVG text, for pages that must work offline and without a plotting library."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 76, 16, 16, 44
BAR_LEFT, BAR_RIGHT, BAR_HEIGHT = 210, 90, 22
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2")

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""The Jinja templates of `hubserve.latency`. All text is escaped, and an undefined variable in a template is an error."""

Points = Sequence[tuple[float, float]]


def line_chart(series: Mapping[str, Points], *, x: str, y: str, doubling: bool = False, dots: bool = True) -> str:
    """Draws a line chart whose y axis starts at 0, and returns its SVG text.

    Args:
        series: Name of a line -> its points (x, y), sorted by x; y is at least 0, and x is above 0 if `doubling`.
        x: Title of the x axis: the quantity and its unit.
        y: Title of the y axis: the quantity and its unit.
        doubling: Whether the x axis is logarithmic with a tick at each point, for values such as 1, 2, 4, ...
        dots: Whether to mark each point by a dot.
    """
    place = math.log2 if doubling else float
    xs = [place(px) for points in series.values() for px, _ in points]
    top = _nice(max((py for points in series.values() for _, py in points), default=1.0))
    low, high = min(xs, default=0.0), max(xs, default=1.0)
    across = (WIDTH - LEFT - RIGHT) / ((high - low) or 1.0)
    up = (HEIGHT - TOP - BOTTOM) / top

    def at(px: float, py: float) -> tuple[float, float]:
        return LEFT + (place(px) - low) * across, HEIGHT - BOTTOM - py * up

    ticks = sorted({px for points in series.values() for px, _ in points}) if doubling else _steps(low, high)
    return TEMPLATES.get_template("line_chart.svg.j2").render(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        x=x,
        y=y,
        x_ticks=[(at(tick, 0)[0], _number(tick)) for tick in ticks],
        y_ticks=[(at(1, tick)[1], _number(tick)) for tick in _steps(0, top)],
        lines=[
            (name, [at(*point) for point in points], COLOURS[i % len(COLOURS)])
            for i, (name, points) in enumerate(series.items())
        ],
        dots=dots,
    )


def bar_chart(rows: Sequence[tuple[str, float]], *, unit: str) -> str:
    """Draws a chart of horizontal bars and returns its SVG text.

    Args:
        rows: Pairs (name, value), one for each bar, from top to bottom; values are at least 0, and names over 30 characters are
            shortened.
        unit: Unit of the values, which is written behind each value.
    """
    most = max((value for _, value in rows), default=1.0) or 1.0
    scale = (WIDTH - BAR_LEFT - BAR_RIGHT) / most
    return TEMPLATES.get_template("bar_chart.svg.j2").render(
        width=WIDTH,
        height=BAR_HEIGHT * len(rows) + 8,
        left=BAR_LEFT,
        step=BAR_HEIGHT,
        bars=[(_short(name), scale * value, f"{_number(value)} {unit}") for name, value in rows],
        unit=unit,
        colour=COLOURS[0],
    )


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:14]}…{text[-15:]}"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _nice(value: float) -> float:
    """Rounds a value up to the next of 1, 2, 2.5 and 5 times a power of ten; returns 1 for values up to 0."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


def _steps(low: float, high: float) -> list[float]:
    step = _nice((high - low) / 5 or 1.0)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]
