"""Exact duplicates by fingerprint."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.prepare.dedup import content_key, first_occurrences
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message


def turns(prompt: str, answer: str = "yes") -> Messages:
    return (Message("user", prompt), Message("assistant", answer))


def test_rows_that_differ_in_composition_or_outer_white_space_are_the_same() -> None:
    assert content_key(turns("caf\u00e9?")) == content_key(turns(" cafe\u0301?\n"))


def test_rows_that_differ_in_anything_else_are_not() -> None:
    rows = [
        turns("Cafe?"),
        turns("cafe?"),
        turns("ca fe?"),
        turns("cafe?", "no"),
        turns("cafe?y", "es"),
        (*turns("cafe?"), *turns("cafe?")),
        (Message("system", "cafe?"), *turns("cafe?")),
        (Message("assistant", "cafe?"), Message("user", "yes")),
    ]
    assert len({content_key(row) for row in rows}) == len(rows)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=50))
def test_each_row_points_to_the_first_that_equals_it(keys: list[tuple[int, int]]) -> None:
    found = first_occurrences(np.array(keys, dtype=np.uint64).reshape(-1, 2))
    assert found.tolist() == [keys.index(key) for key in keys]
