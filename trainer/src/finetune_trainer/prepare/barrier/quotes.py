"""Which rows quote a benchmark, and which of validation and test are quoted by train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.prepare.barrier.contamination import Contamination
from finetune_trainer.prepare.barrier.grams import GRAM_WORDS, Entries, Known, RowGrams, text_grams
from finetune_trainer.prepare.barrier.rows import AllRows
from finetune_trainer.prepare.barrier.split import NOWHERE, SplitName
from finetune_trainer.prepare.workers import Workers

_AHEAD = 32
"""Batches whose 13-grams wait for those of an earlier one, some hundred kilobytes each."""


@dataclass(frozen=True)
class Measures:
    """How many rows benchmarks have, how many of these nothing can be told by, and how many texts the others have."""

    rows: int
    blank: int
    texts: int

    @classmethod
    def of(cls, benchmarks: Iterator[Sequence[str]]) -> Self:
        counts = Counter(len(texts) for texts in benchmarks)
        return cls(counts.total(), counts[0], sum(texts * rows for texts, rows in counts.items()))

    def warnings(self) -> Iterator[str]:
        if self.blank:
            yield (
                f"{self.blank} of {self.rows} benchmark rows cannot be read or have fewer than {GRAM_WORDS} words: "
                "training rows that quote them are not found"
            )


def find_quoting(
    rows: AllRows,
    kept: NDArray[np.bool_],
    benchmarks: Callable[[], Iterator[Sequence[str]]],
    texts: int,
    workers: Workers,
    folder: Path,
) -> NDArray[np.uint32]:
    """Rows that hold a benchmark's; those of given splits are the user's choice."""
    free = kept & (rows.given == NOWHERE)
    return Contamination(
        text_grams(enumerate(chain.from_iterable(benchmarks())), None),
        lambda known: _row_grams(rows, free, known, workers),
        expected=texts,
        folder=folder,
    ).train_rows()


def find_quoted(rows: AllRows, splits: NDArray[np.int8], workers: Workers, folder: Path) -> NDArray[np.uint32]:
    """Validation and test rows that train quotes."""
    measured = (splits == SplitName.VALIDATION) | (splits == SplitName.TEST)
    if not measured.any():
        return np.zeros(0, dtype=np.uint32)
    return Contamination(
        _row_grams(rows, measured, None, workers),
        lambda known: _row_grams(rows, splits == SplitName.TRAIN, known, workers),
        expected=int(measured.sum()),
        folder=folder,
    ).measured_rows()


def _row_grams(rows: AllRows, wanted: NDArray[np.bool_], known: Known | None, workers: Workers) -> Iterator[Entries]:
    return workers.map(RowGrams(known), rows.batches(wanted), told=lambda _: None, ahead=_AHEAD)
