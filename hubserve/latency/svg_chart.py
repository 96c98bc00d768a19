"""Small charts as SVG text, for pages that must work without a network and without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 76, 16, 16, 44
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2")

Points = Sequence[tuple[float, float]]


def line_chart(series: Mapping[str, Points], *, x: str, y: str, doubling: bool = False, dots: bool = True) -> str:
    """Lines over a common x axis; y starts at 0.

    Args:
        series: name -> points, sorted by x.
        x: what the x axis shows, with its unit.
        y: likewise.
        doubling: whether x goes 1, 2, 4, ..., each as far from the next.
        dots: mark the points.
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
    parts = [
        _axes(
            x,
            y,
            [(at(t, 0)[0], _number(t)) for t in ticks],
            [(HEIGHT - BOTTOM - v * up, _number(v)) for v in _steps(0, top)],
        )
    ]
    for i, (name, points) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        placed = [at(*point) for point in points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if dots:
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}"/>' for px, py in placed]
        parts.append(_legend(len(series) - i, name, colour))
    return _svg(parts, f"{y} over {x}: {', '.join(series)}", HEIGHT)


def bar_chart(rows: Sequence[tuple[str, float]], *, unit: str) -> str:
    """Bars to the right, one a row, with their numbers."""
    step, left = 22, 210
    height = step * len(rows) + 8
    most = max((value for _, value in rows), default=1.0) or 1.0
    parts = []
    for i, (name, value) in enumerate(rows):
        middle, length = i * step + 4, (WIDTH - left - 90) * value / most
        parts += [
            _text(left - 8, middle + 14, _short(name), "end"),
            f'<rect x="{left}" y="{middle + 2}" width="{length:.1f}" height="{step - 7}" rx="2" fill="{COLOURS[0]}"/>',
            _text(left + length + 6, middle + 14, f"{_number(value)} {unit}", "start"),
        ]
    return _svg(parts, f"bars in {unit}", height)


def _svg(parts: Sequence[str], label: str, height: int) -> str:
    body = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">{body}</svg>'


def _axes(x: str, y: str, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]]) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<line x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#6b7280"/>']
    for place, text in y_ticks:
        parts.append(f'<line x1="{LEFT}" y1="{place:.1f}" x2="{right}" y2="{place:.1f}" stroke="#e5e7eb"/>')
        parts.append(_text(LEFT - 6, place + 4, text, "end"))
    parts += [_text(place, bottom + 16, text, "middle") for place, text in x_ticks]
    parts.append(_text((LEFT + right) / 2, HEIGHT - 8, x, "middle"))
    middle = (TOP + bottom) / 2
    parts.append(f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y)}</text>')
    return "".join(parts)


def _legend(place: int, name: str, colour: str) -> str:
    """At the lower right, where curves that rise leave room; `place` counts from below."""
    top, right = HEIGHT - BOTTOM - 17 * place, WIDTH - RIGHT - 4
    return f'<rect x="{right - 10}" y="{top}" width="10" height="10" fill="{colour}"/>' + _text(
        right - 15, top + 9, name, "end"
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


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
