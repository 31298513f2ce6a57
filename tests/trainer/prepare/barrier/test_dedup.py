"""Which rows equal or resemble an earlier one, from fingerprints."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from finetune_trainer.prepare.barrier.clusters import earliest
from finetune_trainer.prepare.barrier.dedup import find_alike, find_equal, find_groups, find_outvoted
from finetune_trainer.prepare.prints import PRINT, prints_of
from finetune_trainer.tokenizers import Message


def with_contents(contents: list[tuple[int, int]]) -> NDArray[np.void]:
    prints = np.zeros(len(contents), dtype=PRINT)
    prints["content"] = np.array(contents, dtype=np.uint64).reshape(-1, 2)
    return prints


def stories(*numbers: int) -> NDArray[np.void]:
    """Rows of 100 words; of those with the same tens, the ones differ in one word."""
    rows = []
    for number in numbers:
        words = [f"story{number // 10}word{place}" for place in range(100)]
        words[number % 10 * 10] = f"changed{number}"
        rows.append((Message("text", " ".join(words)),))
    return prints_of(rows)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=50))
def test_each_row_points_to_the_first_that_equals_it(contents: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = find_equal(with_contents(contents), Path(folder) / "equal")
    assert found.first.tolist() == [contents.index(content) for content in contents]
    outputs: dict[int, set[int]] = {}
    for asked, answered in contents:
        outputs.setdefault(asked, set()).add(answered)
    assert found.conflicts == sum(len(answers) > 1 for answers in outputs.values())


def test_a_conflict_names_the_first_row_and_the_first_that_answers_otherwise(tmp_path: Path) -> None:
    contents = [(9, 1), (7, 1), (7, 1), (9, 1), (7, 0), (7, 2), (9, 3)]
    found = find_equal(with_contents(contents), tmp_path / "equal")
    assert found.conflicts == 2
    assert [pair.tolist() for pair in found.conflicting] == [[0, 6], [1, 4]]


def test_rows_that_are_alike_are_paired_with_the_first_of_them(tmp_path: Path) -> None:
    prints = stories(10, 20, 11, 12, 30, 21)
    first = find_equal(prints, tmp_path / "equal").first
    alike = find_alike(prints, first, tmp_path / "alike")
    assert earliest(6, alike).tolist() == [0, 1, 0, 0, 4, 1]


def test_a_thousand_copies_make_a_thousand_pairs(tmp_path: Path) -> None:
    prints = stories(10).repeat(1000)
    prints["content"][:, 1] = np.arange(1000)  # the same words, and yet not the same rows
    first = find_equal(prints, tmp_path / "equal").first
    assert find_alike(prints, first, tmp_path / "alike").tolist() == [[0, row] for row in range(1, 1000)]


def test_a_bucket_of_two_kinds_is_divided_into_two_stars(tmp_path: Path) -> None:
    prints = stories(10, 20, 11, 21)
    prints["bands"] = 7  # every bucket holds them all, as far as the sketch's own bits agree
    prints["sketch"] = np.where(np.arange(4)[:, None] % 2 == 0, np.uint64(0), ~np.uint64(0) << np.uint64(8))
    first = np.arange(4, dtype=np.uint32)
    assert find_alike(prints, first, tmp_path / "alike").tolist() == [[1, 3]]
    prints["sketch"][:, 0] |= np.uint64(1)
    prints["sketch"][:, 1] |= np.uint64(1)
    assert find_alike(prints, first, tmp_path / "again").tolist() == [[0, 2], [1, 3]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=50))
def test_rows_of_a_group_point_to_its_first(groups: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = find_groups(np.array(groups, dtype=np.uint64), Path(folder) / "groups")
    assert found.tolist() == [groups.index(group) if group else row for row, group in enumerate(groups)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40))
def test_an_output_counts_that_more_than_half_of_the_rows_have(contents: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outvoted = find_outvoted(with_contents(contents), Path(folder) / "votes")
    assert outvoted.tolist() == [
        2 * contents.count(content) <= sum(other[0] == content[0] for other in contents) for content in contents
    ]
