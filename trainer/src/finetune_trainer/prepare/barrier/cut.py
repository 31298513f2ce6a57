"""Rows to splits: what must not be parted goes as one, what was placed before stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune_api import spec
from finetune_trainer.prepare.barrier.assignment import Assignment
from finetune_trainer.prepare.barrier.clusters import roots as ends
from finetune_trainer.prepare.barrier.likeness import Likeness, group_rows
from finetune_trainer.prepare.barrier.rows import AllRows
from finetune_trainer.prepare.barrier.split import NOWHERE, Groups, SplitName, divide, most_frequent
from finetune_trainer.prepare.words import mixed

_GROUP = np.uint64(0x67726F7570)


@dataclass(frozen=True)
class Cut:
    """Where each row goes."""

    splits: NDArray[np.int8]
    """NOWHERE also for rows that can be in no split: given rows of their group are measured with."""
    groups: int
    largest: int
    divided: int
    """Groups with rows in more than one given split."""


def cut_splits(
    rows: AllRows,
    likeness: Likeness,
    kept: NDArray[np.bool_],
    data: spec.Data,
    given: Sequence[SplitName | None],
    previous: Assignment | None,
    folder: Path,
) -> Cut:
    """Divide the rows that are `kept`; `given` is the split of each source, `previous` where rows were before."""
    first = group_rows(likeness, kept, rows.groups, data.split.assignment, folder)
    is_first = kept & (first == np.arange(len(first), dtype=np.uint32))
    group = (np.cumsum(is_first, dtype=np.uint32) - np.uint32(1))[first[kept]]
    del first  # here and below, what has a number for each row is not kept beside what is made of it
    roots = np.flatnonzero(is_first).astype(np.uint32)
    keys = rows.keys(roots)
    if rows.groups is not None:
        keys = np.where(rows.groups[roots] == 0, keys, mixed(rows.groups[roots] ^ _GROUP))
    sizes = np.bincount(group, minlength=len(roots))
    where_given = _first_named(rows.given[kept], group, len(roots))
    free = where_given == NOWHERE
    pinned = np.full(len(roots), NOWHERE, np.int8)
    if previous is not None:
        # Of rows that left, too: what is nearly the same stays where it was, whichever of it comes first now.
        stands = represent(likeness, kept)
        there = kept[stands]
        of_row = np.zeros(len(kept), dtype=np.uint32)
        of_row[kept] = group
        pinned = _first_named(previous.find(rows.keys(there)), of_row[stands[there]], len(roots))
    strata = np.broadcast_to(np.uint64(0), len(roots))
    if rows.labels is not None and data.split.assignment is spec.Assignment.EXACT:
        strata = most_frequent(group, rows.labels.strata[kept])
    groups = Groups(keys=keys, sizes=sizes, strata=strata, pinned=pinned)
    filled = frozenset(name for name in given if name is not None)
    where_given[free] = divide(groups if free.all() else groups.some(free), data.split, filled)
    splits = np.full(len(kept), NOWHERE, dtype=np.int8)
    splits[kept] = where_given[group]
    divided = 0
    if filled:
        of_given = rows.given[kept]
        leaving = ~free[group] & (of_given == NOWHERE)
        splits[kept] = np.where(leaving, NOWHERE, np.where(of_given == NOWHERE, splits[kept], of_given))
        sizes = np.bincount(group[~leaving], minlength=len(roots))
        divided = len(np.unique(group[(of_given != NOWHERE) & (of_given != where_given[group])]))
    return Cut(splits=splits, groups=len(roots), largest=int(sizes.max(initial=0)), divided=divided)


def represent(likeness: Likeness, kept: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """For each row the one that is kept in its place: itself, or what it repeats; one that is not kept if none is."""
    return ends(np.where(kept, np.arange(len(kept), dtype=np.uint32), likeness.repeated))


def _first_named(names: NDArray[np.int8], group: NDArray[np.uint32], groups: int) -> NDArray[np.int8]:
    """For each group what its first row has that is not NOWHERE."""
    found = np.full(groups, NOWHERE, dtype=np.int8)
    named = np.flatnonzero(names != NOWHERE)[::-1]
    found[group[named]] = names[named]  # of several, the last that is written stays: the first row's
    return found
