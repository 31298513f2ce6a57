"""Which split each row went to, kept with prepared data so that a later preparation can leave it there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from finetune_trainer.prepare.barrier.split import NOWHERE

ASSIGNMENT_FILE: Final = "assignment.arrow"
_SCHEMA = pa.schema([("key", pa.uint64()), ("split", pa.int8())])


@dataclass(frozen=True)
class Assignment:
    """Rows by what stands in them, not by where they lie."""

    keys: NDArray[np.uint64]
    """Ascending, each once; shape (N,)."""
    splits: NDArray[np.int8]
    """A SplitName each."""

    @classmethod
    def of(cls, keys: NDArray[np.uint64], splits: NDArray[np.int8]) -> Assignment:
        """Of rows in any order; of those with equal keys the first counts."""
        unique, first = np.unique(keys, return_index=True)
        return cls(unique, splits[first])

    def find(self, keys: NDArray[np.uint64]) -> NDArray[np.int8]:
        """A SplitName for each key, or NOWHERE."""
        if not len(self.keys):
            return np.full(len(keys), NOWHERE, dtype=np.int8)
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.splits[places], NOWHERE).astype(np.int8)

    def moved(self, keys: NDArray[np.uint64], splits: NDArray[np.int8]) -> int:
        """How many of these rows were there, and in another split."""
        before = self.find(keys)
        return int(((before != NOWHERE) & (before != splits)).sum())


def write_assignment(folder: Path, assignment: Assignment) -> None:
    """Write ASSIGNMENT_FILE."""
    table = pa.record_batch([pa.array(assignment.keys), pa.array(assignment.splits)], schema=_SCHEMA)
    with pa.OSFile(str(folder / ASSIGNMENT_FILE), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        writer.write_batch(table)


def read_assignment(path: Path) -> Assignment:
    """What write_assignment wrote."""
    with pa.memory_map(str(path)) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
        return Assignment(batch.column("key").to_numpy().copy(), batch.column("split").to_numpy().copy())
