"""Which split each group of rows belongs to: a function of the groups' keys, sizes and labels, and of the seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from finetune_api import spec
from finetune_trainer.prepare.words import mixed


class SplitName(IntEnum):
    """The three splits, in the order of their percentages."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


NOWHERE: Final = -1
"""In place of a SplitName."""
NO_GROUP: Final = bytes(8)
"""In place of a group's key."""


@dataclass(frozen=True)
class Groups:
    """What is divided: G groups of rows that stay together."""

    keys: NDArray[np.uint64]
    """Tells a group from others, now and when rows were added; shape (G,)."""
    sizes: NDArray[np.int64]
    """Rows of each."""
    strata: NDArray[np.uint64]
    """The label of each, hashed; all the same where nothing is stratified."""
    pinned: NDArray[np.int8]
    """A SplitName where an earlier division decides, else NOWHERE."""

    def some(self, wanted: NDArray[np.bool_]) -> Groups:
        """Those of them; `wanted` has shape (G,)."""
        return Groups(self.keys[wanted], self.sizes[wanted], self.strata[wanted], self.pinned[wanted])


def group_key(value: object) -> bytes:
    """8 bytes, equal for rows of one group, and never zero."""
    digest = hashlib.blake2b(repr(value).encode("utf-8", "surrogatepass"), digest_size=8, person=b"group").digest()
    return digest if any(digest) else b"\x01" + digest[1:]


def shares(split: spec.Split, given: frozenset[SplitName] = frozenset()) -> NDArray[np.int64]:
    """Percent of each split, of rows that are divided: what `given` files fill gets none of them; shape (3,)."""
    percents = (split.train_percent, split.validation_percent, split.test_percent)
    return np.array([0 if name in given else percent for name, percent in zip(SplitName, percents, strict=True)])


def divide(groups: Groups, split: spec.Split, given: frozenset[SplitName] = frozenset()) -> NDArray[np.int8]:
    """A SplitName for each group."""
    ranks = mixed(groups.keys ^ mixed(groups.strata ^ mixed(np.full(1, split.seed, dtype=np.uint64))))
    percents = shares(split, given)
    if split.assignment is spec.Assignment.STABLE:
        places = _by_threshold(ranks, percents)
    else:
        places = np.empty(len(ranks), dtype=np.int8)
        for number, of_it in enumerate(_strata(groups.strata)):
            some = ranks[of_it], groups.sizes[of_it], groups.pinned[of_it]
            places[of_it] = _by_quota(*some, percents, start=_STARTS[number % len(_STARTS)])
    pinned = groups.pinned != NOWHERE
    places[pinned] = groups.pinned[pinned]
    if split.assignment is spec.Assignment.EXACT:
        _fill_empty(places, ranks, pinned, percents, groups.strata)
    return places


def _by_threshold(ranks: NDArray[np.uint64], percents: NDArray[np.int64]) -> NDArray[np.int8]:
    """Other groups are not looked at: adding some moves none. Shares are met on average."""
    points = ((ranks >> np.uint64(32)) * np.uint64(percents.sum()) >> np.uint64(32)).astype(np.int64)
    return np.searchsorted(np.cumsum(percents)[:-1], points, side="right").astype(np.int8)


def _strata(strata: NDArray[np.uint64]) -> list[NDArray[np.int64] | slice]:
    if (strata == strata[:1]).all():
        return [slice(None)]
    order = np.argsort(strata, kind="stable")
    return [*np.split(order, np.flatnonzero(np.diff(strata[order])) + 1)]


_STARTS: Final = tuple(int(f"{number:05b}"[::-1], 2) ^ 16 for number in range(32))
"""In 32nds of a group, evenly spread from the first on. Were all the same, a hundred labels of four rows each would
get their quotas, rounded, and give the test split nothing."""


def _by_quota(
    ranks: NDArray[np.uint64],
    sizes: NDArray[np.int64],
    pinned: NDArray[np.int8],
    percents: NDArray[np.int64],
    *,
    start: int,
) -> NDArray[np.int8]:
    """In the order of their ranks, cut where the shares are met: to one group at each cut. Exact integers.

    A group is where the point of it lies that is `start` 32nds behind its begin.
    """
    total = int(sizes.sum())
    there = np.array([int(sizes[pinned == name].sum()) for name in SplitName])
    wanted = np.maximum(0, total * percents - there * int(percents.sum()))
    places = np.zeros(len(ranks), dtype=np.int8)
    order = np.argsort(ranks, kind="stable")
    order = order[pinned[order] == NOWHERE]
    rest = total - int(there.sum())
    ordered = sizes[order]
    points = np.cumsum(ordered)
    points *= 32
    points += (start - 32) * ordered
    cuts = 32 * rest * np.cumsum(wanted)[:-1]
    places[order] = np.searchsorted(cuts, points * int(wanted.sum()), side="right")
    if len(order) and not there[SplitName.TRAIN] and not (places[order] == SplitName.TRAIN).any():
        places[order[0]] = SplitName.TRAIN  # a label that is never trained is measured in vain
    return places


def _fill_empty(
    places: NDArray[np.int8],
    ranks: NDArray[np.uint64],
    pinned: NDArray[np.bool_],
    percents: NDArray[np.int64],
    strata: NDArray[np.uint64],
) -> None:
    """Of few groups, one of those that have most goes where none is: a split of nothing measures nothing."""
    for name in np.flatnonzero(percents):
        counts = np.bincount(places, minlength=len(SplitName))
        free = np.flatnonzero((places == counts.argmax()) & ~pinned)
        if counts[name] == 0 and counts.max() > 1 and len(free):
            _, of_stratum, sizes = np.unique(strata[free], return_inverse=True, return_counts=True)
            several = free[sizes[of_stratum] > 1]
            free = several if len(several) else free
            places[free[ranks[free].argmax()]] = name


def most_frequent(groups: NDArray[Any], labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """For each group the label that most of its rows have, of equals the smallest; shape (G,).

    `groups` numbers the group of each row from 0 without a gap, `labels` are the rows', both of shape (N,).
    """
    if not len(groups):
        return np.zeros(0, dtype=np.uint64)
    order = np.lexsort((labels, groups))
    ordered = np.stack([groups[order].astype(np.uint64), labels[order]], axis=1)
    starts = np.flatnonzero(np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1)))
    counts = np.diff(np.append(starts, len(order)))
    best = np.lexsort((ordered[starts, 1], -counts, ordered[starts, 0]))
    firsts = np.unique(ordered[starts[best], 0], return_index=True)[1]
    found: NDArray[np.uint64] = ordered[starts[best[firsts]], 1]
    return found
