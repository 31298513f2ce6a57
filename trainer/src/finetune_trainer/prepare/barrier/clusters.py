"""What belongs together, from pairs of rows: forests that grow only at their end, and connected components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def earliest(rows: int, pairs: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """For each row the earliest that it is paired with, or itself. `pairs` holds (earlier, later), shape (P, 2)."""
    parents = np.arange(rows, dtype=np.uint32)
    np.minimum.at(parents, pairs[:, 1], pairs[:, 0])
    return parents


def roots(parents: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The row at which each row's chain of parents ends. No parent comes after its row."""
    found = parents
    while True:
        further = found[found]
        if (further == found).all():
            return found
        found = further


def components(parents: NDArray[np.uint32], pairs: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """For each row the first row of all that `parents` and `pairs` join to it."""
    found = roots(parents)
    left, right = found[pairs[:, 0]], found[pairs[:, 1]]
    apart = left != right
    # Few: the first pair of a row is its parent, and only a row that is like two unlike ones joins their trees.
    bridges = np.unique(np.stack([left[apart], right[apart]], axis=1), axis=0).tolist()
    joined: dict[int, int] = {}

    def root(row: int) -> int:
        path = []
        while (above := joined.get(row, row)) != row:
            path.append(row)
            row = above
        for below in path:
            joined[below] = row
        return row

    for one, other in bridges:
        low, high = sorted((root(one), root(other)))
        if low != high:
            joined[high] = low
    if not joined:
        return found
    found = found.copy()
    found[list(joined)] = [root(row) for row in joined]
    return roots(found)
