"""All rows together, as the barrier sees them: fingerprints in a mapped file, groups, labels, given splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfileobj
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune_api import spec
from finetune_trainer.prepare.barrier.dedup import CHUNK_ROWS
from finetune_trainer.prepare.barrier.grams import BatchRows
from finetune_trainer.prepare.barrier.labels import Labels, read_labels
from finetune_trainer.prepare.barrier.likeness import row_keys
from finetune_trainer.prepare.barrier.mapped import let_go
from finetune_trainer.prepare.barrier.split import NOWHERE, SplitName
from finetune_trainer.prepare.prints import PRINT
from finetune_trainer.prepare.spill import Spill
from finetune_trainer.prepare.words import mixed
from finetune_trainer.tasks.labels import LabelRules


@dataclass(frozen=True)
class AllRows:
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


def gather(
    spills: Sequence[Spill],
    data: spec.Data,
    given: Sequence[SplitName | None],
    label_rules: LabelRules | None,
    folder: Path,
) -> AllRows:
    """Of all spills, those of given splits first. Raises StageFailed for more labels than can be meant."""
    order = sorted(range(len(spills)), key=lambda number: (given[number] is None, number))
    sizes = np.array([spill.rows for spill in spills], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    names = np.array([NOWHERE if name is None else name for name in given], dtype=np.int8)
    prints = _concatenated([spills[number].prints for number in order], folder / "prints", PRINT)
    groups = [spills[number].groups for number in order]
    labels = None if label_rules is None else read_labels([spills[number] for number in order], label_rules)
    if labels is not None:
        prints["content"][:, 1] = labels.sets  # a label is the same however a row spells it
    return AllRows(
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
