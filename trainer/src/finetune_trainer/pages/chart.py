"""Curves over optimizer steps as inline SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 860, 310
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 14, 46

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """One named line, or with `dots` marked points."""

    name: str
    style: str
    """CSS class of the page."""
    points: Points
    dots: bool = False


@dataclass(frozen=True)
class Band:
    """A stretch of the x-axis that is marked over the whole height."""

    name: str
    first: float
    last: float


def chart(curves: Sequence[Curve], *, label: str, x_label: str = "step", bands: Sequence[Band] = ()) -> str:
    """All curves in one frame, with ticks at round numbers; an empty string when there is nothing to draw."""
    drawn = [curve for curve in curves if curve.points]
    xs = [x for curve in drawn for x, _ in curve.points]
    ys = [y for curve in drawn for _, y in curve.points if math.isfinite(y)]
    if not ys:
        return ""
    x_ticks, y_ticks = ticks(min(xs), max(xs), 8), ticks(min(ys), max(ys), 5)
    left, right = min(xs), max(max(xs), min(xs) + 1)
    low, high = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - left) / (right - left) * (WIDTH - _LEFT - _RIGHT),
            HEIGHT - _BOTTOM - (y - low) / ((high - low) or 1) * (HEIGHT - _TOP - _BOTTOM),
        )

    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for band in bands:
        start, end = (min(max(place(x, low)[0], _LEFT), WIDTH - _RIGHT) for x in (band.first - 0.5, band.last + 0.5))
        size = f'width="{end - start:.1f}" height="{HEIGHT - _TOP - _BOTTOM}"'
        title = f"<title>{escape(band.name)}</title>"
        parts.append(f'<rect class="band" x="{start:.1f}" y="{_TOP}" {size}>{title}</rect>')
    for y in y_ticks:
        _, top = place(left, y)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{top:.1f}" y2="{top:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8}" y="{top + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in x_ticks:
        at, _ = place(x, low)
        parts.append(f'<text class="tick" x="{at:.1f}" y="{HEIGHT - 26}" text-anchor="middle">{x:g}</text>')
    parts.append(f'<text class="tick" x="{WIDTH - _RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(x_label)}</text>')
    for curve in drawn:
        placed = [(*place(x, y), x, y) for x, y in curve.points if math.isfinite(y)]
        if not curve.dots and len(placed) > 1:
            path = " ".join(f"{at:.1f},{top:.1f}" for at, top, _, _ in placed)
            parts.append(f'<polyline class="{escape(curve.style)}" points="{path}"/>')
            continue
        parts.extend(
            f'<circle class="{escape(curve.style)}" cx="{at:.1f}" cy="{top:.1f}" r="4">'
            f"<title>{escape(curve.name)}, {escape(x_label)} {x:g}: {y:.4g}</title></circle>"
            for at, top, x, y in placed
        )
    return "".join([*parts, "</svg>"])


def smoothed(points: Points, *, weight: float = 0.9) -> list[tuple[float, float]]:
    """Exponential moving average, corrected at its start."""
    average, total, result = 0.0, 0.0, []
    for x, y in points:
        average, total = weight * average + (1 - weight) * y, weight * total + (1 - weight)
        result.append((x, average / total))
    return result


def ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` round numbers that lie within [low, high]; its middle where none does."""
    if high <= low:
        return [low]
    raw = (high - low) / most
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    found = [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return found or [(low + high) / 2]
