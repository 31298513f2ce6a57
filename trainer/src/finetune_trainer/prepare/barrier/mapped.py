"""Arrays of all rows that lie in files and are mapped: how many of their pages are in memory at once."""

from __future__ import annotations

import mmap
from typing import Any

from numpy.typing import NDArray


def let_go(array: NDArray[Any]) -> None:
    """Take the pages of a mapped array out of this process's memory; what was written stays. Others are left alone."""
    base: object = array.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)
