"""Where rows go is a function of their key and the seed."""

from __future__ import annotations

import numpy as np

from finetune_api.spec import Split
from finetune_trainer.prepare.split import assign, group_key

KEYS = [group_key(number) for number in range(20_000)]


def shares(split: Split) -> list[float]:
    places = assign(KEYS, split)
    return [float(np.mean(places == number)) for number in range(3)]


def test_shares_are_met_on_average() -> None:
    # Three standard deviations of 20,000 draws are 0.9 points at most.
    assert np.allclose(shares(Split()), [0.8, 0.1, 0.1], atol=0.009)
    assert np.allclose(
        shares(Split(train_percent=50, validation_percent=49, test_percent=1)), [0.5, 0.49, 0.01], atol=0.011
    )


def test_a_share_of_nothing_is_empty() -> None:
    assert shares(Split(train_percent=100, validation_percent=0, test_percent=0)) == [1, 0, 0]
    assert shares(Split(train_percent=90, validation_percent=0, test_percent=10))[1] == 0


def test_a_row_stays_where_it_is_whatever_else_is_there() -> None:
    all_of_them = dict(zip(KEYS, assign(KEYS, Split()), strict=True))
    some = KEYS[::-7]
    assert assign(some, Split()).tolist() == [all_of_them[key] for key in some]


def test_another_seed_is_another_division() -> None:
    moved = np.mean(assign(KEYS, Split(seed=0)) != assign(KEYS, Split(seed=1)))
    assert 0.3 < moved < 0.4  # 1 - (0.8² + 0.1² + 0.1²) = 0.34


def test_the_division_never_changes_between_releases() -> None:
    """It is part of a run's identity: whoever changes it raises the format of prepared data."""
    assert assign(KEYS[:24], Split(seed=3)).tolist() == EXPECTED


def test_groups_are_told_apart_by_value_and_type() -> None:
    assert group_key("1") != group_key(1)
    assert group_key("a") == group_key("a")


EXPECTED = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
