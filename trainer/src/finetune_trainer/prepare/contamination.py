"""Rows that quote each other at length, by their 13-word sequences: what was trained on cannot be measured with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.prepare.partitions import Partitions
from finetune_trainer.prepare.words import hashed_words, mixed, ngrams

GRAM_WORDS: Final = 13
RAREST: Final = 64
"""13-grams that are looked at of one measured row, those with the smallest hashes: all of up to 76 words."""
COMMON: Final = 10
"""A 13-gram in more train rows than this is a phrase of the data, not a copy (as in GPT-3, arXiv 2005.14165, C)."""
SHARE: Final = 0.5
"""Of a measured row's rarer 13-grams."""

_BATCH_ROWS = 1024
_BATCH_CHARACTERS = 1 << 20
_LEAST_BITS, _MOST_BITS = 16, 29
_ENTRY = np.dtype([("gram", "<u8"), ("row", "<u4")])
_NO_ROWS = np.zeros(0, dtype=np.uint32)

Texts = Iterable[tuple[int, str]]
"""Rows by number, each once, with what is looked at of them."""


class Contamination:
    """What measured rows (of validation and test, or a benchmark's) have in common with train rows."""

    def __init__(self, measured: Texts, train: Texts, *, expected: int, folder: Path) -> None:
        """Both are read once, in this order. `expected` measured rows at most; `folder` is made, and can be deleted."""
        folder.mkdir(parents=True)
        self._folder = folder
        self._bits = min(_MOST_BITS, max(_LEAST_BITS, (16 * RAREST * expected).bit_length()))
        self._known = np.zeros(1 << self._bits >> 3, dtype=np.uint8)
        # Four times as many files as measured rows fill, for a phrase of the data stands in every train row.
        self._expected = 4 * RAREST * expected
        self._measured = Partitions(folder / "measured", _ENTRY, self._expected)
        self._train = Partitions(folder / "train", _ENTRY, self._expected)
        self._rows = 0
        for entries in _entries(measured):
            entries = _smallest(entries, RAREST)
            spread = mixed(entries["gram"])
            byte, bit = self._place(spread)
            np.bitwise_or.at(self._known, byte, bit)
            self._measured.add(spread, entries)
            self._rows = max(self._rows, int(entries["row"].max(initial=0)) + 1)
        if not self._known.any():  # rows too short to quote anything: train need not be read
            train = ()
        # Almost every 13-gram of train stands nowhere else: what the bitmap does not know is not written down.
        for entries in _entries(train):
            byte, bit = self._place(mixed(entries["gram"]))
            entries = _distinct(entries[self._known[byte] & bit != 0])
            self._train.add(mixed(entries["gram"]), entries)

    def measured_rows(self) -> NDArray[np.uint32]:
        """The measured rows of whose rarer 13-grams half or more stand in train, ascending."""
        totals, hits = self._counts(), self._counts()
        for measured, train in self._joined():
            totals += self._counts(measured)
            hits += self._counts(measured[np.diff(train.offsets) > 0])
        return np.flatnonzero((totals > 0) & (hits >= SHARE * totals)).astype(np.uint32)

    def train_rows(self) -> NDArray[np.uint32]:
        """The train rows that hold half or more of the rarer 13-grams of one measured row, ascending."""
        totals = self._counts()
        pairs = Partitions(self._folder / "pairs", np.dtype("<u8"), self._expected)
        for measured, train in self._joined():
            totals += self._counts(measured)
            owners = np.repeat(measured, np.diff(train.offsets)).astype(np.uint64)
            both = owners << np.uint64(32) | train.rows
            pairs.add(mixed(both), both)
        found = [_NO_ROWS]
        for both in pairs.read():
            both, hits = np.unique(both, return_counts=True)
            held = both[hits >= SHARE * totals[both >> np.uint64(32)]]
            found.append(np.unique(held & np.uint64(0xFFFFFFFF)).astype(np.uint32))
        return np.unique(np.concatenate(found))

    def _counts(self, rows: NDArray[np.uint32] = _NO_ROWS) -> NDArray[np.uint8]:
        """How often each measured row occurs, RAREST times at most; shape (the last + 1,)."""
        return np.bincount(rows, minlength=self._rows).astype(np.uint8)

    def _place(self, spread: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        places = spread >> np.uint64(64 - self._bits)
        return places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8)

    def _joined(self) -> Iterator[tuple[NDArray[np.uint32], _Met]]:
        """The measured rows of the rarer 13-grams, one for each, and where in train each is."""
        for measured, train in zip(self._measured.read(), self._train.read(), strict=True):
            train = train[np.argsort(train["gram"], kind="stable")]
            left = np.searchsorted(train["gram"], measured["gram"], side="left")
            number = np.searchsorted(train["gram"], measured["gram"], side="right") - left
            rare = number <= COMMON
            offsets = np.append(0, np.cumsum(number[rare]))
            inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], number[rare])
            yield measured["row"][rare], _Met(offsets, train["row"][np.repeat(left[rare], number[rare]) + inside])


class _Met(NamedTuple):
    """The train rows of G 13-grams: those of number i are rows[offsets[i]:offsets[i + 1]]."""

    offsets: NDArray[np.int64]
    rows: NDArray[np.uint32]


def _entries(texts: Texts) -> Iterator[NDArray[np.void]]:
    """The 13-grams of all rows, in batches."""
    for batch in _batches(texts):
        rows = np.array([row for row, _ in batch], dtype=np.uint32)
        grams = ngrams(hashed_words([text for _, text in batch]), GRAM_WORDS)
        entries = np.zeros(len(grams.values), dtype=_ENTRY)
        entries["gram"] = grams.values
        entries["row"] = rows[grams.owners]
        yield entries


def _batches(texts: Texts) -> Iterator[list[tuple[int, str]]]:
    batch: list[tuple[int, str]] = []
    characters = 0
    for row, text in texts:
        batch.append((row, text))
        characters += len(text)
        if len(batch) == _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _smallest(entries: NDArray[np.void], most: int) -> NDArray[np.void]:
    """The `most` smallest 13-grams of each row, each once."""
    entries = _distinct(entries)
    firsts = np.flatnonzero(np.diff(entries["row"], prepend=-1))
    sizes = np.diff(np.append(firsts, len(entries)))
    return entries[np.arange(len(entries)) - np.repeat(firsts, sizes) < most]


def _distinct(entries: NDArray[np.void]) -> NDArray[np.void]:
    """By row, then 13-gram, each once."""
    ordered = entries[np.lexsort((entries["gram"], entries["row"]))]
    once = np.ones(len(ordered), dtype=bool)
    once[1:] = (ordered["gram"][1:] != ordered["gram"][:-1]) | (ordered["row"][1:] != ordered["row"][:-1])
    distinct: NDArray[np.void] = ordered[once]
    return distinct
