"""Which rows equal or resemble an earlier one, found from their fingerprints alone, on disk and in linear time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.prepare.barrier.mapped import let_go
from finetune_trainer.prepare.barrier.partitions import Partitions
from finetune_trainer.prepare.prints import BANDS, PRINT, band_keys, has_sketch, resemble
from finetune_trainer.prepare.words import mixed

CHUNK_ROWS: Final = 1 << 16
"""Fingerprints that are looked at together."""
_MOST_CONFLICTS = 100
_ROUNDS = 16
"""Stars that one bucket is divided into: rows that are like none of so many centres are like nothing by this band."""

_EQUALITY = np.dtype([("content", "<u8", 2), ("row", "<u4")])
_IN_BAND = np.dtype([("key", "<u4"), ("row", "<u4")])
_IN_GROUP = np.dtype([("group", "<u8"), ("row", "<u4")])


@dataclass(frozen=True)
class Equality:
    """What the content keys of N rows say."""

    first: NDArray[np.uint32]
    """For each row the first that equals it: its own number, unless it is a duplicate; shape (N,)."""
    conflicts: int
    """Inputs that have more than one output."""
    conflicting: NDArray[np.uint32]
    """Two rows each of the first of these, shape (at most 100, 2)."""


def find_equal(prints: NDArray[np.void], folder: Path) -> Equality:
    """`prints` has shape (N,); what lies in `folder`, which is made, can be deleted afterwards."""
    partitions = _by_input(prints, folder)
    first = np.arange(len(prints), dtype=np.uint32)
    conflicts = 0
    examples = []
    for entries in partitions.read():
        content = entries["content"]
        ordered = entries[np.lexsort((content[:, 1], content[:, 0]))]  # stable: equal keys stay in row order
        content, rows = ordered["content"], ordered["row"]
        inputs = _starts(content[:, 0])
        starts = inputs | _starts(content[:, 1])
        first[rows] = rows[starts][np.cumsum(starts) - 1]
        others = np.flatnonzero(starts & ~inputs)  # another output for an input that was met before
        owners = np.flatnonzero(inputs)[np.cumsum(inputs)[others] - 1]
        owners, once = np.unique(owners, return_index=True)
        conflicts += len(owners)
        examples.append(np.stack([rows[owners], rows[others[once]]], axis=1)[:_MOST_CONFLICTS])
    partitions.remove()
    pairs = np.sort(np.concatenate(examples), axis=1)
    return Equality(first, conflicts, pairs[np.lexsort(pairs.T[::-1])][:_MOST_CONFLICTS])


def find_outvoted(prints: NDArray[np.void], folder: Path) -> NDArray[np.bool_]:
    """Rows whose input has several outputs, when theirs is not that of more than half of the input's rows."""
    partitions = _by_input(prints, folder)
    outvoted = np.zeros(len(prints), dtype=bool)
    for entries in partitions.read():
        content = entries["content"]
        ordered = entries[np.lexsort((content[:, 1], content[:, 0]))]
        inputs = _starts(ordered["content"][:, 0])
        of_input = np.cumsum(inputs) - 1
        of_output = np.cumsum(inputs | _starts(ordered["content"][:, 1])) - 1
        outvoted[ordered["row"]] = 2 * np.bincount(of_output)[of_output] <= np.bincount(of_input)[of_input]
    partitions.remove()
    return outvoted


def _by_input(prints: NDArray[np.void], folder: Path) -> Partitions:
    partitions = Partitions(folder, _EQUALITY, len(prints))
    for start, chunk in _chunks(prints):
        entries = np.zeros(len(chunk), dtype=_EQUALITY)
        entries["content"] = chunk["content"]
        entries["row"] = np.arange(start, start + len(chunk))
        partitions.add(mixed(entries["content"][:, 0]), entries)
    return partitions


def find_alike(prints: NDArray[np.void], first: NDArray[np.uint32], folder: Path) -> NDArray[np.uint32]:
    """Pairs (earlier, later) of rows that resemble each other and equal no earlier one; shape (P, 2), sorted.

    Rows that share a band are a bucket, and a bucket is joined as a star to its first row: what is said of a row
    depends on earlier rows only, and a thousand copies give a thousand pairs, not a million.
    """
    partitions = Partitions(folder, _IN_BAND, len(prints) * BANDS)
    sketches = np.empty((len(prints), *PRINT["sketch"].shape), dtype=np.uint64)  # looked up in no order
    for start, chunk in _chunks(prints):
        sketches[start : start + len(chunk)] = chunk["sketch"]
        rows = np.flatnonzero(has_sketch(chunk) & (first[start : start + len(chunk)] == _numbers(start, chunk)))
        entries = np.zeros((len(rows), BANDS), dtype=_IN_BAND)
        entries["key"] = band_keys(chunk[rows])
        entries["row"] = (rows + start)[:, None]
        flat = entries.reshape(-1)
        partitions.add(mixed(flat["key"].astype(np.uint64)), flat)
    found = [_unique_pairs(_stars(entries, sketches)) for entries in partitions.read()]
    partitions.remove()
    return _unique_pairs(found)


def _stars(entries: NDArray[Any], sketches: NDArray[np.uint64]) -> Iterator[NDArray[np.uint32]]:
    ordered = entries[np.argsort(entries["key"], kind="stable")]
    keys, rows = ordered["key"], ordered["row"]
    for _ in range(_ROUNDS):
        starts = _starts(keys)
        sizes = np.diff(np.append(np.flatnonzero(starts), len(keys)))
        centres = np.repeat(rows[starts], sizes)
        alike = np.zeros(len(rows), dtype=bool)
        others = np.flatnonzero(~starts)
        for begin in range(0, len(others), CHUNK_ROWS):
            some = others[begin : begin + CHUNK_ROWS]
            alike[some] = resemble(sketches[centres[some]], sketches[rows[some]])
        yield np.stack([centres[alike], rows[alike]], axis=1)
        left = ~starts & ~alike
        keys, rows = keys[left], rows[left]
        if not len(rows):
            break


def find_groups(groups: NDArray[np.uint64], folder: Path) -> NDArray[np.uint32]:
    """For each row the first of its group; a row whose group is 0 has none, and is its own."""
    partitions = Partitions(folder, _IN_GROUP, len(groups))
    for start, chunk in _chunks(groups):
        rows = np.flatnonzero(chunk)
        entries = np.zeros(len(rows), dtype=_IN_GROUP)
        entries["group"] = chunk[rows]
        entries["row"] = rows + start
        partitions.add(mixed(entries["group"]), entries)
    first = np.arange(len(groups), dtype=np.uint32)
    for entries in partitions.read():
        ordered = entries[np.argsort(entries["group"], kind="stable")]
        starts = _starts(ordered["group"])
        first[ordered["row"]] = ordered["row"][starts][np.cumsum(starts) - 1]
    partitions.remove()
    return first


def _chunks(rows: NDArray[Any]) -> Iterator[tuple[int, NDArray[Any]]]:
    for start in range(0, len(rows), CHUNK_ROWS):
        yield start, rows[start : start + CHUNK_ROWS]
        let_go(rows)


def _numbers(start: int, chunk: NDArray[Any]) -> NDArray[np.uint32]:
    return np.arange(start, start + len(chunk), dtype=np.uint32)


def _starts(ordered: NDArray[Any]) -> NDArray[np.bool_]:
    """Where another value begins."""
    starts = np.ones(len(ordered), dtype=bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    return starts


def _unique_pairs(pairs: Any) -> NDArray[np.uint32]:
    """Sorted by the first row, then the second; shape (P, 2)."""
    stacked = np.concatenate([np.zeros((0, 2), dtype=np.uint32), *pairs]).astype(np.uint64)
    packed = np.unique(stacked[:, 0] << np.uint64(32) | stacked[:, 1])
    return np.stack([packed >> np.uint64(32), packed & np.uint64(0xFFFFFFFF)], axis=1).astype(np.uint32)
