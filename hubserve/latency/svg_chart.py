"""Small charts as SVG text, for pages that must work without a network and without a plotting library."""

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
"""The templates of this package. Every text is escaped, and a name that a template does not get is an error."""

Points = Sequence[tuple[float, float]]


def line_chart(series: Mapping[str, Points], *, x: str, y: str, doubling: bool = False, dots: bool = True) -> str:
    """Lines over a common x axis; y starts at 0.

    Args:
        series: Name of a line -> its points (x, y), sorted by x.
        x: Quantity on the x axis, with its unit.
        y: Quantity on the y axis, with its unit.
        doubling: Whether x is 1, 2, 4, ..., which are then equally far apart.
        dots: Whether to mark the points.
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
    """Horizontal bars, one for each (name, value), with their values; a long name is shortened."""
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
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


def _steps(low: float, high: float) -> list[float]:
    step = _nice((high - low) / 5 or 1.0)
    first = math.ceil(low / step - 1e-9)
    return [step * i for i in range(first, math.floor(high / step + 1e-9) + 1)]
