"""Between the passes: from fingerprints and grams, which rows are kept and in which split each of them is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from shutil import copyfileobj
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from finetune_api import spec
from finetune_api.model import Model
from finetune_trainer.prepare.barrier.assignment import Assignment
from finetune_trainer.prepare.barrier.clusters import roots as ends
from finetune_trainer.prepare.barrier.contamination import Contamination
from finetune_trainer.prepare.barrier.dedup import CHUNK_ROWS, find_outvoted
from finetune_trainer.prepare.barrier.grams import GRAM_WORDS, BatchRows, Entries, Known, RowGrams, text_grams
from finetune_trainer.prepare.barrier.labels import LabelFindings, Labels, read_labels, slips
from finetune_trainer.prepare.barrier.likeness import Likeness, group_rows, likeness_of, row_keys
from finetune_trainer.prepare.barrier.mapped import let_go
from finetune_trainer.prepare.barrier.split import NOWHERE, Groups, SplitName, divide, most_frequent, shares
from finetune_trainer.prepare.ledger import Removal
from finetune_trainer.prepare.prints import PRINT
from finetune_trainer.prepare.spill import Spill
from finetune_trainer.prepare.words import mixed
from finetune_trainer.prepare.workers import Workers
from finetune_trainer.prepared import SPLITS
from finetune_trainer.tasks.labels import LabelRules

FEW_ROWS: Final = 10
"""A smaller validation or test split measures little."""
FEW_OF_LABEL: Final = 10
LARGE_GROUP_PERCENT: Final = 10
DEVIATION_POINTS: Final = 2

_AHEAD = 32
"""Batches whose 13-grams wait for those of an earlier one, some hundred kilobytes each."""
_GROUP = np.uint64(0x67726F7570)


class Findings(Model):
    """What only a look at all rows together tells, for the report."""

    exact_duplicates: int
    """Rows that equal an earlier one, whether or not they were removed."""
    near_duplicates: int
    """Rows that resemble an earlier one and equal none, whether or not they were removed."""
    conflicts: int
    """Inputs that have more than one output; their rows stay, unless the outputs are labels."""
    conflict_places: tuple[tuple[str, str], ...]
    """Two rows each of the first of them."""
    groups: int
    """Of kept rows; what must not be parted counts as one."""
    largest_group: int
    """Rows of the largest."""
    moved: int | None
    """Rows in another split than in `spec.data.split.previousUri`; null without one."""
    labels: LabelFindings | None
    """Null where rows have none."""
    warnings: tuple[str, ...]
    """What a person should know before training on this, in sentences."""


@dataclass(frozen=True)
class Decision:
    """Of the N rows of all spills, in their order."""

    splits: NDArray[np.int8]
    """A SplitName, or NOWHERE for a row that is left out; shape (N,)."""
    repeated: NDArray[np.uint32]
    """The earliest row that each equals or resembles, or its own number; shape (N,)."""
    equals: NDArray[np.bool_]
    """Whether it equals an earlier one; shape (N,)."""
    outvoted: NDArray[np.bool_]
    """Whether its text has other labels in as many other rows or more; shape (N,)."""
    labels: Labels | None
    """None where rows have none; else how they are written from now on."""
    conflicting: tuple[tuple[int, int], ...]
    """Two rows each of the first inputs that have more than one output."""
    assignment: Assignment
    findings: Findings

    def removal(self, row: int) -> tuple[Removal, int | None]:
        """Why a row is left out, and the row that stands for it, if one does."""
        if self.outvoted[row]:
            return Removal.CONFLICTING, None
        first = int(self.repeated[row])
        if first == row:
            return Removal.CONTAMINATED, None
        return Removal.DUPLICATE if self.equals[row] else Removal.NEAR_DUPLICATE, first


@dataclass(frozen=True)
class _Rows:
    """All rows, those of given splits first: of two that are alike, it is they who stay."""

    spills: tuple[Spill, ...]
    prints: NDArray[np.void]
    groups: NDArray[np.uint64] | None
    labels: Labels | None
    given: NDArray[np.int8]
    """A SplitName or NOWHERE."""
    own_order: NDArray[np.uint32]
    """Number of each among all rows in the order of the sources."""

    def keys(self, wanted: NDArray[Any]) -> NDArray[np.uint64]:
        """What tells these rows from others in later preparations too; a row that is labelled anew stays the same."""
        numbers = np.flatnonzero(wanted) if wanted.dtype == np.bool_ else wanted
        keys = np.empty(len(numbers), dtype=np.uint64)
        for start in range(0, len(numbers), CHUNK_ROWS):
            prints = self.prints[numbers[start : start + CHUNK_ROWS]]
            keys[start : start + len(prints)] = (
                row_keys(prints) if self.labels is None else mixed(prints["content"][:, 0])
            )
            let_go(self.prints)
        return keys

    def batches(self, wanted: NDArray[np.bool_]) -> list[BatchRows]:
        """Where the wanted rows are."""
        found = []
        first = 0
        for spill in self.spills:
            for block in spill.blocks:
                here = wanted[first : first + block.rows]
                if here.any():
                    found.append(BatchRows(spill.path, block, here, first))
                first += block.rows
        return found


def decide(
    spills: Sequence[Spill],
    data: spec.Data,
    *,
    given: Sequence[SplitName | None],
    previous: Assignment | None,
    benchmarks: Callable[[], Iterator[Sequence[str]]],
    label_rules: LabelRules | None,
    answered: bool,
    place_of: Callable[[int], str],
    workers: Workers,
    folder: Path,
) -> Decision:
    """`given` is the split of each source's rows, `benchmarks` the texts of rows that may not be trained on.

    `label_rules` are those of rows that have labels. Raises StageFailed when these are too many.

    `answered` says that the last text of a row is an answer. `place_of` names a row, numbered in the order of the
    sources. `folder` is made; it takes 64 bytes a row and, while duplicates are looked for, 128 more.
    """
    folder.mkdir(parents=True)
    rows = _gather(spills, data, given, label_rules, folder)
    outvoted = np.zeros(len(rows.prints), dtype=bool)
    if rows.labels is not None:
        outvoted = find_outvoted(rows.prints, folder / "votes")
        rows.prints["sketch"][outvoted] = 0  # a row that leaves stands for no other
    likeness = likeness_of(rows.prints, folder / "likeness", labelled=rows.labels is not None)
    kept = likeness.kept(data.deduplication) & ~outvoted
    measures = _Measures.of(benchmarks() if data.decontamination.benchmarks else iter(()))
    if measures.texts:
        quoting = _quoting(rows, kept, benchmarks, measures.texts, workers, folder / "benchmarks")
        kept[quoting] = False
    cut = _cut(rows, likeness, kept, data, given, previous, folder / "cut-1")
    parted = int((kept & (cut.splits == NOWHERE)).sum())
    kept &= cut.splits != NOWHERE
    if data.decontamination.evaluation:
        for again in (True, False):
            quoted = _quoted(rows, cut.splits, workers, folder / f"contamination-{again}")
            kept[quoted] = False
            cut = replace(cut, splits=np.where(kept, cut.splits, NOWHERE).astype(np.int8))
            if not (again and len(quoted)) or data.split.assignment is spec.Assignment.STABLE:
                break
            cut = _cut(rows, likeness, kept, data, given, previous, folder / "cut-2")
    own = rows.own_order
    splits = np.empty_like(cut.splits)
    repeated, equals = np.empty_like(own), np.empty(len(own), dtype=bool)
    splits[own], repeated[own], equals[own] = cut.splits, own[likeness.repeated], likeness.equals
    left_out = np.empty_like(outvoted)
    left_out[own] = outvoted
    represented = cut.splits[_represent(likeness, kept)]
    keys = rows.keys(represented != NOWHERE)
    represented = represented[represented != NOWHERE]
    conflicting = tuple((int(own[one]), int(own[other])) for one, other in likeness.equality.conflicting)
    findings = Findings(
        exact_duplicates=int(likeness.equals.sum()),
        near_duplicates=int(likeness.resembles.sum()),
        conflicts=likeness.equality.conflicts,
        conflict_places=tuple((place_of(one), place_of(other)) for one, other in conflicting),
        groups=cut.groups,
        largest_group=cut.largest,
        moved=None if previous is None else previous.moved(keys, represented),
        labels=_label_findings(rows.labels, likeness, rows.prints, outvoted),
        warnings=(
            *_warnings(cut, data, given),
            *_group_warnings(cut, parted),
            *_likeness_warnings(rows, likeness, data, place_of, answered=answered, pinned=previous is not None),
            *measures.warnings(),
            *_label_warnings(rows.labels, outvoted),
        ),
    )
    return Decision(
        splits=splits,
        repeated=repeated,
        equals=equals,
        outvoted=left_out,
        labels=rows.labels,
        conflicting=conflicting,
        assignment=Assignment.of(keys, represented),
        findings=findings,
    )


def _gather(
    spills: Sequence[Spill],
    data: spec.Data,
    given: Sequence[SplitName | None],
    label_rules: LabelRules | None,
    folder: Path,
) -> _Rows:
    order = sorted(range(len(spills)), key=lambda number: (given[number] is None, number))
    sizes = np.array([spill.rows for spill in spills], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    names = np.array([NOWHERE if name is None else name for name in given], dtype=np.int8)
    prints = _concatenated([spills[number].prints for number in order], folder / "prints", PRINT)
    groups = [spills[number].groups for number in order]
    labels = None if label_rules is None else read_labels([spills[number] for number in order], label_rules)
    if labels is not None:
        prints["content"][:, 1] = labels.sets  # a label is the same however a row spells it
    return _Rows(
        spills=tuple(spills[number] for number in order),
        prints=prints,
        groups=_concatenated(groups, folder / "groups", np.dtype("<u8")) if data.split.group_by is not None else None,
        labels=labels,
        given=np.repeat(names[order], sizes[order]),
        own_order=np.concatenate(
            [np.arange(starts[number], starts[number] + sizes[number], dtype=np.uint32) for number in order]
        ),
    )


def _concatenated(paths: Sequence[Path], target: Path, dtype: np.dtype[Any]) -> NDArray[Any]:
    with target.open("wb") as file:
        for path in paths:
            with path.open("rb") as part:
                copyfileobj(part, file, 1 << 20)
    # An empty file cannot be mapped.
    return np.memmap(target, dtype=dtype, mode="r+") if target.stat().st_size else np.zeros(0, dtype=dtype)


@dataclass(frozen=True)
class _Measures:
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


def _quoting(
    rows: _Rows,
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


def _quoted(rows: _Rows, splits: NDArray[np.int8], workers: Workers, folder: Path) -> NDArray[np.uint32]:
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


def _row_grams(rows: _Rows, wanted: NDArray[np.bool_], known: Known | None, workers: Workers) -> Iterator[Entries]:
    return workers.map(RowGrams(known), rows.batches(wanted), told=lambda _: None, ahead=_AHEAD)


@dataclass(frozen=True)
class _Cut:
    splits: NDArray[np.int8]
    """NOWHERE also for rows that can be in no split: given rows of their group are measured with."""
    groups: int
    largest: int
    divided: int
    """Groups with rows in more than one given split."""


def _cut(
    rows: _Rows,
    likeness: Likeness,
    kept: NDArray[np.bool_],
    data: spec.Data,
    given: Sequence[SplitName | None],
    previous: Assignment | None,
    folder: Path,
) -> _Cut:
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
        stands = _represent(likeness, kept)
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
    return _Cut(splits=splits, groups=len(roots), largest=int(sizes.max(initial=0)), divided=divided)


def _represent(likeness: Likeness, kept: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """For each row the one that is kept in its place: itself, or what it repeats; one that is not kept if none is."""
    return ends(np.where(kept, np.arange(len(kept), dtype=np.uint32), likeness.repeated))


def _first_named(names: NDArray[np.int8], group: NDArray[np.uint32], groups: int) -> NDArray[np.int8]:
    """For each group what its first row has that is not NOWHERE."""
    found = np.full(groups, NOWHERE, dtype=np.int8)
    named = np.flatnonzero(names != NOWHERE)[::-1]
    found[group[named]] = names[named]  # of several, the last that is written stays: the first row's
    return found


def _warnings(cut: _Cut, data: spec.Data, given: Sequence[SplitName | None]) -> Iterator[str]:
    counts = np.bincount(cut.splits[cut.splits != NOWHERE], minlength=len(SPLITS))
    total = int(counts.sum())
    for name in (SplitName.VALIDATION, SplitName.TEST):
        if 0 < counts[name] < FEW_ROWS:
            rows = "1 row" if counts[name] == 1 else f"{counts[name]} rows"
            yield f"{SPLITS[name]} has {rows}: what is measured on so few says little"
    if total and cut.largest > 1 and cut.largest * 100 > total * LARGE_GROUP_PERCENT:
        yield f"{cut.largest} of {total} rows are one group, and stay in one split"
    if any(name is not None for name in given):
        return
    for name, percent in zip(SplitName, shares(data.split), strict=True):
        share = 100 * counts[name] / max(1, total)
        if abs(share - percent) > DEVIATION_POINTS:
            yield f"{SPLITS[name]} has {share:.1f} % of the rows, {percent} % were asked for"


def _group_warnings(cut: _Cut, parted: int) -> Iterator[str]:
    if parted:
        yield (
            f"{parted} rows are left out, for rows of a given validation or test split are of the same group, "
            "or nearly the same"
        )
    if cut.divided:
        yield f"{cut.divided} groups have rows in more than one given split: they measure partly the same"


def _likeness_warnings(
    rows: _Rows,
    likeness: Likeness,
    data: spec.Data,
    place_of: Callable[[int], str],
    *,
    answered: bool,
    pinned: bool,
) -> Iterator[str]:
    later = np.flatnonzero(likeness.resembles)
    if len(later) and data.split.assignment is spec.Assignment.STABLE and not pinned:
        yield (
            f"{len(later)} rows are nearly the same as earlier ones and go where these do: where a file was added "
            "before them they may have moved; spec.data.split.previousUri keeps rows where they were"
        )
    if answered and rows.labels is None and data.deduplication is spec.Deduplication.NEAR:
        answers = rows.prints["content"][:, 1]
        gone = later[answers[later] != answers[likeness.repeated[later]]]
        if len(gone):
            one, other = (place_of(int(rows.own_order[row])) for row in (gone[0], likeness.repeated[gone[0]]))
            yield (
                f"{len(gone)} rows leave as near duplicates though their answers differ, such as {one} for {other}: "
                "if that is due to prompts made from one template, set spec.data.deduplication to Exact"
            )


def _label_findings(
    labels: Labels | None, likeness: Likeness, prints: NDArray[np.void], outvoted: NDArray[np.bool_]
) -> LabelFindings | None:
    if labels is None:
        return None
    inputs, outputs = prints["content"][:, 0], prints["content"][:, 1]
    one, other = likeness.alike.T
    otherwise = (inputs[one] != inputs[other]) & (outputs[one] != outputs[other])
    return LabelFindings(
        rows_respelt=labels.rows_respelt,
        respelt=labels.respelt,
        slips=slips(labels.rows),
        rows_outvoted=int(outvoted.sum()),
        alike_but_labelled_otherwise=int(otherwise.sum()),
    )


def _label_warnings(labels: Labels | None, outvoted: NDArray[np.bool_]) -> Iterator[str]:
    if labels is None:
        return
    few = [label for label, rows in labels.rows.items() if rows < FEW_OF_LABEL]
    if few:
        named = ", ".join(map(repr, few[:5])) + (", …" if len(few) > 5 else "")
        yield f"{len(few)} of {len(labels.rows)} labels have fewer than {FEW_OF_LABEL} rows: {named}"
    share = 100 * outvoted.sum() / max(1, len(outvoted))
    if share >= 1:
        yield (
            f"{outvoted.sum()} rows ({share:.1f} %) are left out, for their text has other labels elsewhere; "
            "if each row holds one of several labels of its text, put them into one row and set multiLabel"
        )
    if found := slips(labels.rows):
        yield f"{len(found)} labels look like slips of others, such as {found[0].label!r} of {found[0].instead!r}"
