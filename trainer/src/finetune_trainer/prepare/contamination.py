"""Rows that quote each other at length, by their 13-word sequences: what was trained on cannot be measured with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
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
        self._bits = min(_MOST_BITS, max(_LEAST_BITS, (16 * RAREST * expected).bit_length()))
        self._known = np.zeros(1 << self._bits >> 3, dtype=np.uint8)
        self._measured = Partitions(folder / "measured", _ENTRY, RAREST * expected)
        self._train = Partitions(folder / "train", _ENTRY, RAREST * expected)
        for entries in _entries(measured, most=RAREST):
            spread = mixed(entries["gram"])
            byte, bit = self._place(spread)
            np.bitwise_or.at(self._known, byte, bit)
            self._measured.add(spread, entries)
        if not self._known.any():  # rows too short to quote anything: train need not be read
            train = ()
        # Almost every 13-gram of train stands nowhere else: what the bitmap does not know is not written down.
        for entries in _entries(train, most=None):
            spread = mixed(entries["gram"])
            byte, bit = self._place(spread)
            known = self._known[byte] & bit != 0
            self._train.add(spread[known], entries[known])

    def measured_rows(self) -> NDArray[np.uint32]:
        """The measured rows of whose rarer 13-grams half or more stand in train, ascending."""
        rows, met = [_NO_ROWS], [np.zeros(0, dtype=bool)]
        for measured, train in self._joined():
            rows.append(measured)
            met.append(np.diff(train.offsets) > 0)
        names, owners = np.unique(np.concatenate(rows), return_inverse=True)
        hits = np.bincount(owners[np.concatenate(met)], minlength=len(names))
        return names[hits >= SHARE * np.bincount(owners, minlength=len(names))]

    def train_rows(self) -> NDArray[np.uint32]:
        """The train rows that hold half or more of the rarer 13-grams of one measured row, ascending."""
        rows, pairs = [_NO_ROWS], [np.zeros(0, dtype=np.uint64)]
        for measured, train in self._joined():
            rows.append(measured)
            owners = np.repeat(measured, np.diff(train.offsets)).astype(np.uint64)
            pairs.append(owners << np.uint64(32) | train.rows)
        names, totals = np.unique(np.concatenate(rows), return_counts=True)
        both, hits = np.unique(np.concatenate(pairs), return_counts=True)
        wanted = totals[np.searchsorted(names, (both >> np.uint64(32)).astype(np.uint32))]
        return np.unique((both[hits >= SHARE * wanted] & np.uint64(0xFFFFFFFF)).astype(np.uint32))

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


def _entries(texts: Texts, *, most: int | None) -> Iterator[NDArray[np.void]]:
    """Each 13-gram of a row once, in batches."""
    texts = iter(texts)
    while batch := list(islice(texts, _BATCH_ROWS)):
        grams = [np.unique(ngrams(hashed_words(text), GRAM_WORDS))[:most] for _, text in batch]
        entries = np.zeros(sum(map(len, grams)), dtype=_ENTRY)
        entries["gram"] = np.concatenate(grams)
        entries["row"] = np.repeat(
            np.array([row for row, _ in batch], dtype=np.uint32), [len(found) for found in grams]
        )
        yield entries
