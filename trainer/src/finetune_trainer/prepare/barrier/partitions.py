"""Entries scattered over files by their key, each small enough to be sorted in memory: a sort of what lies on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

ENTRIES: Final = 2 << 20
"""What a file holds, about."""
_MOST_FILES = 256


class Partitions:
    """Collects entries of one dtype; equal keys come back in one array, in the order in which they were added."""

    def __init__(self, folder: Path, dtype: np.dtype[Any], expected: int) -> None:
        """`expected` entries at most decide how many files there are; `folder` is made."""
        folder.mkdir(parents=True)
        self._dtype = dtype
        count = min(_MOST_FILES, -(-expected // ENTRIES) or 1)
        self._paths = [folder / f"{number:03d}" for number in range(count)]
        self._files = [path.open("wb") for path in self._paths]

    def add(self, keys: NDArray[np.uint64], entries: NDArray[Any]) -> None:
        """`keys` are evenly distributed, one for each of the entries."""
        if len(self._files) == 1:
            entries.tofile(self._files[0])
            return
        numbers = (keys >> np.uint64(32)) * np.uint64(len(self._files)) >> np.uint64(32)
        order = np.argsort(numbers, kind="stable")
        bounds = np.searchsorted(numbers[order], np.arange(len(self._files) + 1, dtype=np.uint64))
        ordered = entries[order]
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            ordered[bounds[number] : bounds[number + 1]].tofile(self._files[number])

    def read(self) -> Iterator[NDArray[Any]]:
        """The entries of one file after another. Nothing can be added any more."""
        for file in self._files:
            file.close()
        for path in self._paths:
            yield np.fromfile(path, dtype=self._dtype)

    def remove(self) -> None:
        """Give the space back."""
        for path in self._paths:
            path.unlink()
