"""Between the passes: from fingerprints and grams, which rows are kept and in which split each of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune_api import spec
from finetune_trainer.prepare.barrier.assignment import Assignment
from finetune_trainer.prepare.barrier.cut import cut_splits, represent
from finetune_trainer.prepare.barrier.dedup import find_outvoted
from finetune_trainer.prepare.barrier.findings import (
    Findings,
    label_findings,
    label_warnings,
    likeness_warnings,
    split_warnings,
)
from finetune_trainer.prepare.barrier.labels import Labels
from finetune_trainer.prepare.barrier.likeness import likeness_of
from finetune_trainer.prepare.barrier.quotes import Measures, find_quoted, find_quoting
from finetune_trainer.prepare.barrier.rows import gather
from finetune_trainer.prepare.barrier.split import NOWHERE, SplitName
from finetune_trainer.prepare.ledger import Removal
from finetune_trainer.prepare.spill import Spill
from finetune_trainer.prepare.workers import Workers
from finetune_trainer.tasks.labels import LabelRules


@dataclass(frozen=True)
class Decision:
    """Of the N rows of all spills, in their order."""

    splits: NDArray[np.int8]
    """A SplitName, or NOWHERE for a row that is left out; shape (N,)."""
    repeated: NDArray[np.uint32]
    """The earliest row that each equals or resembles, or its own number; shape (N,)."""
    equals: NDArray[np.bool_]
    """Whether it equals an earlier one; shape (N,)."""
    deduplicated: NDArray[np.bool_]
    """Whether it is left out for that; shape (N,)."""
    outvoted: NDArray[np.bool_]
    """Whether its text has other labels in as many other rows or more; shape (N,)."""
    replaced: NDArray[np.uint32]
    """Rows that left because they resemble another, and the one that stays for each; shape (P, 2)."""
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
        if not self.deduplicated[row]:
            return Removal.CONTAMINATED, None
        return Removal.DUPLICATE if self.equals[row] else Removal.NEAR_DUPLICATE, int(self.repeated[row])


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
    rows = gather(spills, data, given, label_rules, folder)
    outvoted = np.zeros(len(rows.prints), dtype=bool)
    if rows.labels is not None:
        outvoted = find_outvoted(rows.prints, folder / "votes")
        rows.prints["sketch"][outvoted] = 0  # a row that leaves stands for no other
    likeness = likeness_of(rows.prints, folder / "likeness", labelled=rows.labels is not None)
    once = likeness.kept(data.deduplication)
    kept = once & ~outvoted
    measures = Measures.of(benchmarks() if data.decontamination.benchmarks else iter(()))
    if measures.texts:
        quoting = find_quoting(rows, kept, benchmarks, measures.texts, workers, folder / "benchmarks")
        kept[quoting] = False
    cut = cut_splits(rows, likeness, kept, data, given, previous, folder / "cut-1")
    parted = int((kept & (cut.splits == NOWHERE)).sum())
    kept &= cut.splits != NOWHERE
    if data.decontamination.evaluation:
        for again in (True, False):
            quoted = find_quoted(rows, cut.splits, workers, folder / f"contamination-{again}")
            kept[quoted] = False
            cut = replace(cut, splits=np.where(kept, cut.splits, NOWHERE).astype(np.int8))
            if not (again and len(quoted)) or data.split.assignment is spec.Assignment.STABLE:
                break
            cut = cut_splits(rows, likeness, kept, data, given, previous, folder / "cut-2")
    own = rows.own_order
    splits = np.empty_like(cut.splits)
    repeated, equals = np.empty_like(own), np.empty(len(own), dtype=bool)
    splits[own], repeated[own], equals[own] = cut.splits, own[likeness.repeated], likeness.equals
    deduplicated, left_out = np.empty_like(outvoted), np.empty_like(outvoted)
    deduplicated[own], left_out[own] = ~once, outvoted
    stands = represent(likeness, kept)
    replaced = np.flatnonzero(~once & kept[stands] & (stands != likeness.equality.first))
    represented = cut.splits[stands]
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
        labels=label_findings(rows.labels, likeness, rows.prints, outvoted),
        warnings=(
            *split_warnings(cut, parted, data, given=any(name is not None for name in given)),
            *likeness_warnings(rows, likeness, data, place_of, answered=answered, pinned=previous is not None),
            *measures.warnings(),
            *label_warnings(rows.labels, outvoted),
        ),
    )
    return Decision(
        splits=splits,
        repeated=repeated,
        equals=equals,
        deduplicated=deduplicated,
        outvoted=left_out,
        replaced=np.stack([own[replaced], own[stands[replaced]]], axis=1),
        labels=rows.labels,
        conflicting=conflicting,
        assignment=Assignment.of(keys, represented),
        findings=findings,
    )
