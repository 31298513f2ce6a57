"""What all rows' fingerprints say together: who repeats whom, and who must not be parted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune_api.spec import Assignment, Deduplication
from finetune_trainer.prepare.barrier.clusters import components, earliest, roots
from finetune_trainer.prepare.barrier.dedup import Equality, find_alike, find_equal, find_groups
from finetune_trainer.prepare.barrier.mapped import let_go
from finetune_trainer.prepare.words import mixed


@dataclass(frozen=True)
class Likeness:
    """Of N rows, numbered in the order in which the first is kept."""

    equality: Equality
    alike: NDArray[np.uint32]
    """Pairs (earlier, later) that resemble each other, of rows that equal no earlier one; shape (P, 2)."""
    repeated: NDArray[np.uint32]
    """For each row the earliest that it equals or resembles, or itself; same input with another output is no repeat."""

    @property
    def equals(self) -> NDArray[np.bool_]:
        """Rows that equal an earlier one."""
        found: NDArray[np.bool_] = self.equality.first != _numbers(self.repeated)
        return found

    @property
    def resembles(self) -> NDArray[np.bool_]:
        """Rows that equal no earlier one and resemble one."""
        found: NDArray[np.bool_] = (self.repeated != _numbers(self.repeated)) & ~self.equals
        return found

    def kept(self, deduplication: Deduplication) -> NDArray[np.bool_]:
        """Which rows stay."""
        if deduplication is Deduplication.OFF:
            return np.ones(len(self.repeated), dtype=bool)
        return ~self.equals & ~self.resembles if deduplication is Deduplication.NEAR else ~self.equals


def likeness_of(prints: NDArray[np.void], folder: Path, *, labelled: bool = False) -> Likeness:
    """`prints` are of dtype PRINT; `folder` is made, and can be deleted. Of rows that are `labelled`, one is no repeat
    of another with other labels, however alike their texts are.
    """
    equality = find_equal(prints, folder / "equal")
    alike = find_alike(prints, equality.first, folder / "alike")
    inputs, outputs = prints["content"].T
    repeats = alike[inputs[alike[:, 0]] != inputs[alike[:, 1]]]
    if labelled:
        repeats = repeats[outputs[repeats[:, 0]] == outputs[repeats[:, 1]]]
    let_go(prints)
    return Likeness(equality, alike, np.minimum(equality.first, earliest(len(prints), repeats)))


def group_rows(
    likeness: Likeness,
    kept: NDArray[np.bool_],
    labels: NDArray[np.uint64] | None,
    assignment: Assignment,
    folder: Path,
) -> NDArray[np.uint32]:
    """For each kept row the first row of its group: all that stay in one split. Rows with equal `labels` do (0: none).

    With Exact that is all that likeness joins. With Stable each row goes with the earliest that it is like, so that
    rows which are added never join two groups of before, even where they are like rows of both.
    """
    rows = len(kept)
    later = np.flatnonzero(likeness.equals).astype(np.uint32)
    equal = np.stack([likeness.equality.first[later], later], axis=1)
    pairs = np.concatenate([equal, likeness.alike])
    pairs = pairs[kept[pairs].all(axis=1)]
    parents = earliest(rows, pairs)
    if labels is not None:
        first = find_groups(np.where(kept, labels, np.uint64(0)), folder)
        parents = np.where(first == np.arange(rows), parents, first)
    return roots(parents) if assignment is Assignment.STABLE else components(parents, pairs)


def _numbers(rows: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return np.arange(len(rows), dtype=np.uint32)


def row_keys(prints: NDArray[np.void]) -> NDArray[np.uint64]:
    """The content key of each row in 8 bytes, evenly distributed."""
    keys: NDArray[np.uint64] = mixed(prints["content"][:, 0]) ^ prints["content"][:, 1]
    return keys
