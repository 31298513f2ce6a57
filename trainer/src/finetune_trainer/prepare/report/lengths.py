"""How long documents are, in figures that fit a page."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.prepare.report.model import Lengths

_FIRST: Final = 8
"""Tokens; what is shorter is counted together."""


def lengths_of(lengths: NDArray[np.int32]) -> Lengths | None:
    """Of documents with so many tokens each, shape (N,); None where there are none. Two bounds to a doubling."""
    if not len(lengths):
        return None
    longest = int(lengths.max())
    edges = [0]
    while edges[-1] <= longest:
        edges.append(_FIRST if not edges[-1] else _next(edges[-1]))
    counts = [int(((lengths >= low) & (lengths < high)).sum()) for low, high in pairwise(edges)]
    first = next(number for number, count in enumerate(counts) if count)
    median, ninety, ninety_nine = np.percentile(lengths, (50, 90, 99), method="higher").tolist()
    return Lengths(
        median=median,
        percentile_90=ninety,
        percentile_99=ninety_nine,
        longest=longest,
        edges=tuple(edges[first:]),
        counts=tuple(counts[first:]),
    )


def _next(edge: int) -> int:
    """8, 12, 16, 24, 32, 48, …"""
    is_power = edge & (edge - 1) == 0
    return edge * 3 // 2 if is_power else edge * 4 // 3
