"""Where groups go is a function of their keys, sizes and labels, and of the seed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from finetune_api.spec import Assignment, Split
from finetune_trainer.prepare.barrier.split import (
    NO_GROUP,
    NOWHERE,
    Groups,
    SplitName,
    divide,
    group_key,
    most_frequent,
)
from finetune_trainer.prepare.words import mixed

STABLE = Assignment.STABLE


def groups_of(
    sizes: list[int], *, strata: list[int] | None = None, pinned: dict[int, int] | None = None, start: int = 0
) -> Groups:
    pins = np.full(len(sizes), NOWHERE, dtype=np.int8)
    for group, name in (pinned or {}).items():
        pins[group] = name
    return Groups(
        keys=mixed(np.arange(start, start + len(sizes), dtype=np.uint64)),
        sizes=np.array(sizes, dtype=np.int64),
        strata=np.array(strata if strata is not None else [0] * len(sizes), dtype=np.uint64),
        pinned=pins,
    )


def rows_of(places: NDArray[np.int8], groups: Groups) -> list[int]:
    return [int(groups.sizes[places == name].sum()) for name in SplitName]


@pytest.mark.parametrize("assignment", list(Assignment))
def test_shares_are_met_on_average_or_exactly(assignment: Assignment) -> None:
    groups = groups_of([1] * 20_000)
    counts = np.array(rows_of(divide(groups, Split(assignment=assignment)), groups))
    # Three standard deviations of 20,000 draws are 0.9 points at most.
    assert np.allclose(counts / 20_000, [0.8, 0.1, 0.1], atol=0 if assignment is Assignment.EXACT else 0.009)


@pytest.mark.parametrize("assignment", list(Assignment))
def test_a_share_of_nothing_is_empty(assignment: Assignment) -> None:
    groups = groups_of([1] * 1000)
    everything = Split(assignment=assignment, train_percent=100, validation_percent=0, test_percent=0)
    assert rows_of(divide(groups, everything), groups) == [1000, 0, 0]
    without = Split(assignment=assignment, train_percent=90, validation_percent=0, test_percent=10)
    assert rows_of(divide(groups, without), groups)[1] == 0


SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=60)
PERCENTS = st.tuples(st.integers(1, 98), st.integers(0, 98)).filter(lambda two: sum(two) <= 99)


def split_of(percents: tuple[int, int], **more: object) -> Split:
    train, validation = percents
    return Split.model_validate(
        {
            "train_percent": train,
            "validation_percent": validation,
            "test_percent": 100 - train - validation,
            "seed": 3,
            **more,
        }
    )


@settings(max_examples=100, deadline=None)
@given(SIZES, PERCENTS)
def test_exact_is_exact_to_one_group(sizes: list[int], percents: tuple[int, int]) -> None:
    groups = groups_of(sizes)
    split = split_of(percents)
    counts = rows_of(divide(groups, split), groups)
    for count, percent in zip(counts, (*percents, 100 - sum(percents)), strict=True):
        # At either end half a group at most; and one more where a split would have been empty.
        assert abs(count - sum(sizes) * percent / 100) <= 2 * max(sizes)
    if len(sizes) >= 3:
        assert all(count > 0 for count, percent in zip(counts, (*percents, 1), strict=True) if percent)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=30, max_size=200))
def test_each_stratum_is_divided_alike(strata: list[int]) -> None:
    groups = groups_of([1] * len(strata), strata=strata)
    places = divide(groups, Split(train_percent=60, validation_percent=20, test_percent=20))
    for stratum, total in Counter(strata).items():
        counts = np.bincount(places[np.array(strata) == stratum], minlength=3)
        assert (abs(counts - total * np.array([0.6, 0.2, 0.2])) < 1.5).all()


@settings(max_examples=50, deadline=None)
@given(SIZES, SIZES, PERCENTS)
def test_a_stable_division_moves_nothing_when_groups_are_added(
    sizes: list[int], more: list[int], percents: tuple[int, int]
) -> None:
    split = split_of(percents, assignment=STABLE)
    before = divide(groups_of(sizes), split)
    grown = [size + 1 for size in sizes]  # old groups may grow too
    assert divide(groups_of(grown + more), split)[: len(sizes)].tolist() == before.tolist()


def test_pins_hold_and_the_rest_makes_up_for_them() -> None:
    groups = groups_of([1] * 100, pinned=dict.fromkeys(range(9), SplitName.TEST) | {9: SplitName.VALIDATION})
    places = divide(groups, Split())
    assert places[:10].tolist() == [2] * 9 + [1]
    assert rows_of(places, groups) == [80, 10, 10]
    more = groups_of([1] * 100, pinned=dict.fromkeys(range(30), SplitName.TEST))
    assert rows_of(divide(more, Split()), more) == [62, 8, 30]  # 80 to 10 of what is left
    stable = divide(groups, Split(assignment=STABLE))
    assert stable[:10].tolist() == [2] * 9 + [1]


def test_what_a_given_file_fills_gets_no_other_rows() -> None:
    groups = groups_of([1] * 90)
    for assignment in Assignment:
        split = Split(assignment=assignment)
        assert rows_of(divide(groups, split, frozenset({SplitName.TEST})), groups)[2] == 0
    assert rows_of(divide(groups, Split(), frozenset({SplitName.TEST})), groups) == [80, 10, 0]
    assert rows_of(divide(groups, Split(), frozenset({SplitName.TEST, SplitName.VALIDATION})), groups) == [90, 0, 0]


@pytest.mark.parametrize("count", [3, 4, 5, 7, 10, 11, 19])
def test_few_groups_leave_no_split_empty(count: int) -> None:
    groups = groups_of([1] * count)
    counts = rows_of(divide(groups, Split()), groups)
    assert min(counts) >= 1
    assert counts[0] == max(counts)


def test_two_groups_cannot_fill_three_splits() -> None:
    groups = groups_of([1, 1])
    assert 0 in rows_of(divide(groups, Split()), groups)


def test_another_seed_is_another_division() -> None:
    groups = groups_of([1] * 20_000)
    for assignment in Assignment:
        one, other = (divide(groups, Split(assignment=assignment, seed=seed)) for seed in (0, 1))
        assert 0.3 < np.mean(one != other) < 0.4  # 1 - (0.8² + 0.1² + 0.1²) = 0.34


def test_the_division_never_changes_between_releases() -> None:
    """It is part of a run's identity: whoever changes it raises the format of prepared data."""
    groups = groups_of([1] * 24)
    assert divide(groups, Split(seed=3)).tolist() == EXPECTED_EXACT
    assert divide(groups, Split(seed=3, assignment=STABLE)).tolist() == EXPECTED_STABLE


def test_groups_are_told_apart_by_value_and_type() -> None:
    assert group_key("1") != group_key(1)
    assert group_key("a") == group_key("a") != NO_GROUP


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=60))
def test_a_mixed_group_belongs_to_its_most_frequent_label(rows: list[tuple[int, int]]) -> None:
    numbers = {group: number for number, group in enumerate(sorted({group for group, _ in rows}))}
    found = most_frequent(
        np.array([numbers[group] for group, _ in rows]), np.array([label for _, label in rows], dtype=np.uint64)
    )
    for group, number in numbers.items():
        labels = Counter(label for other, label in rows if other == group)
        assert found[number] == min(labels, key=lambda label: (-labels[label], label))


EXPECTED_EXACT = [0, 0, 0, 0, 0, 0, 1, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0]
EXPECTED_STABLE = [0, 0, 0, 0, 0, 0, 2, 0, 2, 2, 0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 0, 1, 2, 0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(1, 5), min_size=3, max_size=20), min_size=1, max_size=6), PERCENTS)
def test_every_stratum_is_trained_and_cut_to_one_group(strata: list[list[int]], percents: tuple[int, int]) -> None:
    members = [(size, number) for number, sizes in enumerate(strata) for size in sizes]
    groups = groups_of([size for size, _ in members], strata=[number for _, number in members])
    places = divide(groups, split_of(percents))
    for number, sizes in enumerate(strata):
        of_it = groups.strata == number
        assert (places[of_it] == SplitName.TRAIN).any()
        trained = groups.sizes[of_it & (places == SplitName.TRAIN)].sum()
        # One group at the cut, and one for each split that would be empty.
        assert abs(trained - sum(sizes) * percents[0] / 100) <= 3 * max(sizes)


def test_many_small_strata_add_up_to_the_shares() -> None:
    groups = groups_of([1] * 400, strata=[number // 4 for number in range(400)])
    assert np.abs(np.array(rows_of(divide(groups, Split()), groups)) - [320, 40, 40]).max() <= 5


def test_what_fills_an_empty_split_is_not_the_only_one_of_its_stratum() -> None:
    groups = groups_of([1] * 6, strata=[0, 1, 2, 3, 3, 3])
    places = divide(groups, Split())
    assert set(groups.strata[places == SplitName.TRAIN].tolist()) == {0, 1, 2, 3}
    assert rows_of(places, groups) == [4, 1, 1]
