"""The 13-word sequences of rows, a batch at a time: what one row quotes of another is told by them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.prepare.spill import Block, learnt_texts, read_block
from finetune_trainer.prepare.words import hashed_words, mixed, ngrams

GRAM_WORDS: Final = 13
RAREST: Final = 64
"""13-grams that are looked at of one measured row, those with the smallest hashes: all of up to 76 words."""
ENTRY: Final = np.dtype([("gram", "<u8"), ("row", "<u4")])

_BATCH_ROWS = 128
_BATCH_CHARACTERS = 1 << 18
"""What is made of so many texts stays in the processor's cache: twice as fast as with a thousand."""
_LEAST_BITS, _MOST_BITS = 16, 29

Entries = NDArray[np.void]
"""Of dtype ENTRY, sorted by row and then 13-gram, each once."""


@dataclass(frozen=True)
class Known:
    """A set of 13-grams in a file, which all processes share: a bit for each hash, of which one in 64 is set.

    Almost every 13-gram of train stands nowhere else: what is not in here need not be written down.
    """

    path: Path
    bits: int

    @classmethod
    def empty(cls, path: Path, expected: int) -> Self:
        """For `expected` 13-grams at most."""
        known = cls(path, min(_MOST_BITS, max(_LEAST_BITS, (64 * expected).bit_length())))
        np.zeros(1 << known.bits >> 3, dtype=np.uint8).tofile(path)
        return known

    @cached_property
    def _set(self) -> NDArray[np.uint8]:
        return np.memmap(self.path, dtype=np.uint8, mode="r+")

    def __reduce__(self) -> tuple[type[Known], tuple[Path, int]]:
        return Known, (self.path, self.bits)  # another process maps the file, and is not sent it

    def add(self, entries: Entries) -> None:
        """All of them."""
        byte, bit = self._places(entries)
        np.bitwise_or.at(self._set, byte, bit)

    def within(self, entries: Entries) -> Entries:
        """Those that were added before, and a few others."""
        byte, bit = self._places(entries)
        known: Entries = entries[self._set[byte] & bit != 0]
        return known

    def _places(self, entries: Entries) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        places = mixed(entries["gram"]) >> np.uint64(64 - self.bits)
        return places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8)


@dataclass(frozen=True)
class BatchRows:
    """Some rows of a batch of a spill."""

    spill: Path
    block: Block
    wanted: NDArray[np.bool_]
    """Which of its rows; shape (rows of the block,)."""
    first: int
    """Number of its first row among all rows."""


@dataclass(frozen=True)
class RowGrams:
    """A call for each batch."""

    known: Known | None
    """Of train rows these matter; of measured rows the RAREST."""

    def __call__(self, rows: BatchRows, _told: object) -> Entries:
        texts = learnt_texts(read_block(rows.spill, rows.block), rows.wanted)
        numbers = np.flatnonzero(rows.wanted) + rows.first
        return np.concatenate(list(text_grams(zip(numbers.tolist(), texts, strict=True), self.known)))


def text_grams(texts: Iterable[tuple[int, str]], known: Known | None) -> Iterator[Entries]:
    """The same for texts and their numbers, in batches."""
    batch: list[str] = []
    numbers: list[int] = []
    characters = 0
    for number, text in texts:
        batch.append(text)
        numbers.append(number)
        characters += len(text)
        if len(batch) == _BATCH_ROWS or characters >= _BATCH_CHARACTERS:
            yield _grams(np.array(numbers, dtype=np.uint32), batch, known)
            batch, numbers, characters = [], [], 0
    if batch:
        yield _grams(np.array(numbers, dtype=np.uint32), batch, known)


def _grams(rows: NDArray[np.uint32], texts: Sequence[str], known: Known | None) -> Entries:
    grams = ngrams(hashed_words(texts), GRAM_WORDS)
    entries = np.zeros(len(grams.values), dtype=ENTRY)
    entries["gram"] = grams.values
    entries["row"] = rows[grams.owners]
    return _smallest(_distinct(entries)) if known is None else _distinct(known.within(entries))


def _distinct(entries: NDArray[np.void]) -> Entries:
    ordered = entries[np.lexsort((entries["gram"], entries["row"]))]
    once = np.ones(len(ordered), dtype=bool)
    once[1:] = (ordered["gram"][1:] != ordered["gram"][:-1]) | (ordered["row"][1:] != ordered["row"][:-1])
    distinct: Entries = ordered[once]
    return distinct


def _smallest(entries: Entries) -> Entries:
    """The RAREST of each row."""
    firsts = np.flatnonzero(np.diff(entries["row"], prepend=-1))
    sizes = np.diff(np.append(firsts, len(entries)))
    smallest: Entries = entries[np.arange(len(entries)) - np.repeat(firsts, sizes) < RAREST]
    return smallest
