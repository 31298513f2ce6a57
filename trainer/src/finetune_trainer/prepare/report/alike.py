"""Which rows that are alike a person sees: the largest clusters and the first conflicts, with their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.prepare.barrier import Decision
from finetune_trainer.prepare.excerpt import conversation
from finetune_trainer.prepare.report.model import AlikeRows
from finetune_trainer.prepare.spill import Spill, messages_of, read_block

MOST: Final = 5


@dataclass(frozen=True)
class Alike:
    """For the report."""

    duplicates: tuple[AlikeRows, ...]
    conflicts: tuple[AlikeRows, ...]


def find_alike_rows(decision: Decision, spills: Sequence[Spill], place_of: Callable[[int], str]) -> Alike:
    """`place_of` names a row, numbered in the order of the spills."""
    clusters = list(_clusters(decision.repeated))
    conflicting = decision.conflicting[:MOST]
    wanted = {row for _, rows in clusters for row in rows} | {row for pair in conflicting for row in pair}
    texts = _texts(spills, sorted(wanted))

    def shown(size: int, rows: Sequence[int]) -> AlikeRows:
        return AlikeRows(rows=size, places=tuple(map(place_of, rows)), texts=tuple(texts[row] for row in rows))

    return Alike(
        duplicates=tuple(shown(size, rows) for size, rows in clusters),
        conflicts=tuple(shown(2, pair) for pair in conflicting),
    )


def _clusters(repeated: NDArray[np.uint32]) -> Iterable[tuple[int, tuple[int, int]]]:
    """Of the largest the size, the first row and the next: of rows that equal or resemble it."""
    later = np.flatnonzero(repeated != np.arange(len(repeated), dtype=np.uint32))
    firsts, next_one, counts = np.unique(repeated[later], return_index=True, return_counts=True)
    for number in np.argsort(-counts, kind="stable")[:MOST].tolist():
        yield int(counts[number]) + 1, (int(firsts[number]), int(later[next_one[number]]))


def _texts(spills: Sequence[Spill], rows: Sequence[int]) -> dict[int, str]:
    """Of some rows; only the batches that hold them are read."""
    found: dict[int, str] = {}
    start = 0
    for spill in spills:
        for block in spill.blocks:
            inside = [row for row in rows if start <= row < start + block.rows]
            if inside:
                batch = read_block(spill.path, block).take([row - start for row in inside])
                found |= zip(inside, map(conversation, messages_of(batch)), strict=True)
            start += block.rows
    return found
