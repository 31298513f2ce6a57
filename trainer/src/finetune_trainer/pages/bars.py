"""Bars as inline SVG that keeps its letters' size at any width: places are percentages, nothing is scaled. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_LEAST: Final = 0.4
"""Percent of the width: what is not nothing can be seen."""
_TOP, _HEIGHT, _BOTTOM = 18, 130, 22


@dataclass(frozen=True)
class Part:
    """Of a bar."""

    style: str
    """CSS class of the page."""
    size: int
    name: str


def bar(parts: Sequence[Part], whole: int, *, label: str, height: int = 14) -> str:
    """One horizontal bar, `whole` being all of its width."""
    drawn = [part for part in parts if part.size > 0]
    at, found = 0.0, []
    for part in drawn:
        width = max(_LEAST, 100 * part.size / max(1, whole))
        at = min(at, 100 - width)
        found.append(
            f'<rect class="{part.style}" x="{at:.2f}%" width="{width:.2f}%" height="{height}">'
            f"<title>{escape(part.name)}: {part.size:,}</title></rect>"
        )
        at += width
    return (
        f'<svg class="bar" width="100%" height="{height}" role="img" aria-label="{escape(label)}">'
        f'<rect class="track" width="100%" height="{height}"/>{"".join(found)}</svg>'
    )


def histogram(edges: Sequence[int], counts: Sequence[int], *, label: str, marks: Sequence[tuple[str, int]] = ()) -> str:
    """Columns between bounds, evenly spaced whatever these are; `marks` are named values among them."""
    most, width = max(counts, default=0), 100 / max(1, len(counts))
    bottom = _TOP + _HEIGHT
    columns = "".join(
        f'<rect class="train" x="{number * width + width * 0.06:.2f}%" width="{width * 0.88:.2f}%" '
        f'y="{bottom - max(2.0, _HEIGHT * count / most):.1f}" height="{max(2.0, _HEIGHT * count / most):.1f}">'
        f"<title>{edges[number]:,} to {edges[number + 1] - 1:,}: {count:,}</title></rect>"
        for number, count in enumerate(counts)
        if count
    )
    every = -(-len(counts) // 7)
    ticks = "".join(
        f'<text class="tick" x="{number * width:.2f}%" y="{bottom + 16}" '
        f'text-anchor="{"start" if number == 0 else "middle"}">{edge:,}</text>'
        for number, edge in enumerate(edges[:-1])
        if number % every == 0
    )
    named = "".join(
        f'<line class="mark" x1="{at:.2f}%" x2="{at:.2f}%" y1="{_TOP - 4}" y2="{bottom}"/>'
        f'<text class="tick" x="{at:.2f}%" y="{_TOP - 7}" text-anchor="{"end" if at > 50 else "start"}">{escape(name)}'
        "</text>"
        for name, at in ((name, _place(value, edges)) for name, value in marks)
    )
    return (
        f'<svg class="columns" width="100%" height="{bottom + _BOTTOM}" role="img" aria-label="{escape(label)}">'
        f'<line class="grid" x1="0" x2="100%" y1="{bottom}" y2="{bottom}"/>{columns}{ticks}{named}</svg>'
    )


def _place(value: int, edges: Sequence[int]) -> float:
    """Percent of the width."""
    for number in range(len(edges) - 1):
        low, high = edges[number], edges[number + 1]
        if low <= value < high:
            return 100 * (number + (value - low) / (high - low)) / (len(edges) - 1)
    return 100.0
