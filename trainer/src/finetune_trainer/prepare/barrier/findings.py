"""What only a look at all rows together tells a person: counts, and what to know before training on this."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from finetune_api import spec
from finetune_api.model import Model
from finetune_trainer.prepare.barrier.cut import Cut
from finetune_trainer.prepare.barrier.labels import LabelFindings, Labels, slips
from finetune_trainer.prepare.barrier.likeness import Likeness
from finetune_trainer.prepare.barrier.rows import AllRows
from finetune_trainer.prepare.barrier.split import NOWHERE, SplitName, shares
from finetune_trainer.prepared import SPLITS

FEW_ROWS: Final = 10
"""A smaller validation or test split measures little."""
FEW_OF_LABEL: Final = 10
LARGE_GROUP_PERCENT: Final = 10
DEVIATION_POINTS: Final = 2


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

    def and_warn(self, more: Iterable[str]) -> Self:
        """The same with further warnings."""
        return self.model_copy(update={"warnings": (*self.warnings, *more)})


def split_warnings(cut: Cut, parted: int, data: spec.Data, *, given: bool) -> Iterator[str]:
    """Of splits in sentences; `parted` rows could go nowhere, `given` says that some sources name their split."""
    counts = np.bincount(cut.splits[cut.splits != NOWHERE], minlength=len(SPLITS))
    total = int(counts.sum())
    for name in (SplitName.VALIDATION, SplitName.TEST):
        if 0 < counts[name] < FEW_ROWS:
            rows = "1 row" if counts[name] == 1 else f"{counts[name]} rows"
            yield f"{SPLITS[name]} has {rows}: what is measured on so few says little"
    if total and cut.largest > 1 and cut.largest * 100 > total * LARGE_GROUP_PERCENT:
        yield f"{cut.largest} of {total} rows are one group, and stay in one split"
    if parted:
        yield (
            f"{parted} rows are left out, for rows of a given validation or test split are of the same group, "
            "or nearly the same"
        )
    if cut.divided:
        yield f"{cut.divided} groups have rows in more than one given split: they measure partly the same"
    if given:
        return
    for name, percent in zip(SplitName, shares(data.split), strict=True):
        share = 100 * counts[name] / max(1, total)
        if abs(share - percent) > DEVIATION_POINTS:
            yield f"{SPLITS[name]} has {share:.1f} % of the rows, {percent} % were asked for"


def likeness_warnings(
    rows: AllRows,
    likeness: Likeness,
    data: spec.Data,
    place_of: Callable[[int], str],
    *,
    answered: bool,
    pinned: bool,
) -> Iterator[str]:
    """Of rows that resemble others; `answered` and `pinned` say that rows end with an answer, and that some stay."""
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
                "where prompts are made from one template, put that into the system prompt, which is not compared"
            )


def rejected_warnings(
    replaced: NDArray[np.uint32], rejected: Sequence[int], place_of: Callable[[int], str]
) -> Iterator[str]:
    """After encoding, of rows that left for one that had to leave, too; `replaced` is a Decision's."""
    lost = replaced[np.isin(replaced[:, 1], rejected)]
    if len(lost):
        examples = ", ".join(f"{place_of(row)} for {place_of(stands)}" for row, stands in lost[:3].tolist())
        yield (
            f"{len(lost)} rows left as near duplicates of others that were rejected afterwards, so none is used: "
            f"{examples}; mend or shorten the rejected rows, or set spec.data.deduplication to Exact"
        )


def label_findings(
    labels: Labels | None, likeness: Likeness, prints: NDArray[np.void], outvoted: NDArray[np.bool_]
) -> LabelFindings | None:
    """What became of labels; None where rows have none."""
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


def label_warnings(labels: Labels | None, outvoted: NDArray[np.bool_]) -> Iterator[str]:
    """Of labels in sentences; none where rows have none."""
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
