"""Forests and components of pairs."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_trainer.prepare.barrier.clusters import components, earliest, roots

ROWS = 30
PAIRS = st.lists(
    st.tuples(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1)).filter(lambda pair: pair[0] < pair[1]), max_size=40
)


def parts(pairs: list[tuple[int, int]]) -> list[int]:
    """The first row of each row's component, the slow way."""
    found = list(range(ROWS))
    for _ in range(ROWS):
        for one, other in pairs:
            found[one] = found[other] = min(found[one], found[other])
    return found


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_components_are_those_of_the_graph(pairs: list[tuple[int, int]]) -> None:
    array = np.array(pairs, dtype=np.uint32).reshape(-1, 2)
    assert components(earliest(ROWS, array), array).tolist() == parts(pairs)


@settings(max_examples=100, deadline=None)
@given(PAIRS)
def test_each_row_is_in_the_tree_of_the_earliest_that_it_is_paired_with(pairs: list[tuple[int, int]]) -> None:
    parents = earliest(ROWS, np.array(pairs, dtype=np.uint32).reshape(-1, 2))
    assert parents.tolist() == [min([row, *(one for one, other in pairs if other == row)]) for row in range(ROWS)]
    found = roots(parents)
    assert (found == found[parents]).all()
    assert (found[found] == found).all()


@settings(max_examples=100, deadline=None)
@given(PAIRS, st.integers(1, ROWS))
def test_rows_that_are_added_change_no_earlier_tree(pairs: list[tuple[int, int]], before: int) -> None:
    def trees(rows: int) -> list[int]:
        there = [pair for pair in pairs if pair[1] < rows]
        return roots(earliest(rows, np.array(there, dtype=np.uint32).reshape(-1, 2))).tolist()

    assert trees(ROWS)[:before] == trees(before)
