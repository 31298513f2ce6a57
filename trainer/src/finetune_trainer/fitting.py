"""Which row each document stands in, so that rows are full: whole arrays at a time, for there may be millions. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Any

import numpy as np
from numpy.typing import NDArray

Lengths = NDArray[np.int32]
RowNumbers = NDArray[np.int32]


def fit(lengths: Lengths, capacity: int) -> tuple[RowNumbers, int]:
    """The row of each document, shape (N,), and the number of rows; `lengths` are 1 to `capacity`, in a random order.

    Short documents are dealt out in this order until a row has little room left. Those that are held back for it, and
    the long ones, are then put where they fit best. Mostly that gives fuller rows than best fit decreasing alone, and
    it mixes documents of all lengths; where it would give more than one row in a hundred more, nothing is dealt out.
    """
    none = np.zeros(len(lengths), dtype=bool)
    mixed = _fit(lengths, capacity, *_dealt(lengths, capacity))
    ordered = _fit(lengths, capacity, none, 0)
    return mixed if 100 * mixed[1] <= 101 * ordered[1] else ordered


def _fit(lengths: Lengths, capacity: int, dealt: NDArray[np.bool_], reserve: int) -> tuple[RowNumbers, int]:
    row_of = np.empty(len(lengths), dtype=np.int32)
    row_of[dealt], room = _deal(lengths[dealt], capacity - reserve)
    held_back = np.flatnonzero(~dealt)
    held_back = held_back[np.argsort(-lengths[held_back], kind="stable")]
    row_of[held_back], rows = _fit_best(lengths[held_back], room + reserve, capacity)
    return row_of, rows


def _dealt(lengths: Lengths, capacity: int) -> tuple[NDArray[np.bool_], int]:
    """Which documents are dealt out, shape (N,), and the room that is kept free in each of their rows.

    Long are those of more than a quarter of a row. What is held back is as much as fits beside them, and a tenth more
    than the room in other rows: the one that is kept, and half of the document that did not fit, of mean length by
    tokens. As much is kept, and at least as much as a short document needs.
    """
    short = lengths <= capacity // 4
    sizes = lengths[short].astype(np.int64)
    if not len(sizes):
        return short, 0
    total = int(sizes.sum())
    overhang = int(np.square(sizes).sum()) // (2 * total)
    reserve = max(overhang, int(np.partition(sizes, len(sizes) // 100)[len(sizes) // 100]))
    beside_long = min(total, (len(lengths) - len(sizes)) * capacity - int(lengths[~short].sum(dtype=np.int64)))
    held_back = beside_long + 11 * (total - beside_long) * (reserve + overhang) // (10 * capacity)
    return short & (np.cumsum(np.where(short, lengths, 0), dtype=np.int64) > held_back), reserve


def _deal(lengths: Lengths, capacity: int) -> tuple[RowNumbers, NDArray[np.int64]]:
    """Row after row until the next document does not fit: the row of each, and what is left of each row."""
    ends = np.cumsum(lengths, dtype=np.int64)
    following = np.searchsorted(ends, ends - lengths + capacity, side="right").data
    starts = []
    start = 0
    while start < len(lengths):
        starts.append(start)
        start = following[start]
    firsts = np.array(starts, dtype=np.int64)
    used = np.diff(np.append(0, ends)[np.append(firsts, len(lengths))])
    sizes = np.diff(np.append(firsts, len(lengths)))
    return np.repeat(np.arange(len(firsts), dtype=np.int32), sizes), capacity - used


def _fit_best(lengths: Lengths, room: NDArray[np.int64], capacity: int) -> tuple[RowNumbers, int]:
    """Documents, longest first, into the rows with the least room that is enough, or into new ones.

    Documents of one length meet rows of one room all at once, so that the work is bounded by the different lengths.
    """
    row_of = np.empty(len(lengths), dtype=np.int32)
    ordered = np.argsort(room, kind="stable").astype(np.int32)
    by_room = {left: [ordered[first:end]] for left, first, end in _runs(room[ordered])}
    known = list(by_room)  # ascending, those that have rows
    rows = len(room)
    for size, first, end in _runs(lengths):
        while first < end:
            place = bisect_left(known, size)
            if place == len(known):
                opened = max(1, (end - first) // (capacity // size))
                known.append(capacity)
                by_room[capacity] = [np.arange(rows, rows + opened, dtype=np.int32)]
                rows += opened
            left = known[place]
            waiting = by_room[left]
            chosen = waiting.pop()
            taken = chosen[: end - first]
            row_of[first : first + len(taken)] = taken
            first += len(taken)
            if len(taken) < len(chosen):
                waiting.append(chosen[len(taken) :])
            if not waiting:
                known.pop(place)
            if left > size:
                others = by_room.setdefault(left - size, [])
                if not others:
                    insort(known, left - size)
                others.append(taken)
    return row_of, rows


def _runs(values: NDArray[Any]) -> list[tuple[int, int, int]]:
    """Each run of equal values: the value, where it begins and where it ends."""
    edges = np.flatnonzero(np.diff(values)) + 1
    starts = [0, *edges.tolist()] if len(values) else []
    return list(zip(values[starts].tolist(), starts, [*starts[1:], len(values)], strict=False))
