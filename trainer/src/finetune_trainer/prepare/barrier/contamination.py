"""Rows that quote each other at length, by their 13-word sequences: what was trained on cannot be measured with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.prepare.barrier.grams import ENTRY, RAREST, Entries, Known
from finetune_trainer.prepare.barrier.partitions import Partitions
from finetune_trainer.prepare.words import mixed

COMMON: Final = 10
"""A 13-gram in more train rows than this is a phrase of the data, not a copy (as in GPT-3, arXiv 2005.14165, C)."""
SHARE: Final = 0.5
"""Of a measured row's rarer 13-grams."""

_NO_ROWS = np.zeros(0, dtype=np.uint32)


class Contamination:
    """What measured rows (of validation and test, or a benchmark's) have in common with train rows."""

    def __init__(
        self, measured: Iterable[Entries], train: Callable[[Known], Iterable[Entries]], *, expected: int, folder: Path
    ) -> None:
        """The RAREST 13-grams of `expected` measured rows at most; of train's, those that are known from these.

        `folder` is made, and can be deleted.
        """
        folder.mkdir(parents=True)
        self._folder = folder
        # Four times as many files as measured rows fill, for a phrase of the data stands in every train row.
        self._expected = 4 * RAREST * expected
        self._measured = Partitions(folder / "measured", ENTRY, self._expected)
        self._train = Partitions(folder / "train", ENTRY, self._expected)
        self._rows = 0
        known = Known.empty(folder / "known", RAREST * expected)
        for entries in measured:
            known.add(entries)
            self._measured.add(mixed(entries["gram"]), entries)
            self._rows = max(self._rows, int(entries["row"].max(initial=0)) + 1 if len(entries) else 0)
        if self._rows:  # else they are too short to quote anything, and train need not be read
            for entries in train(known):
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
