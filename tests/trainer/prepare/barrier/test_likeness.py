"""Near duplicates that are known, and what stays together."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_api.spec import Assignment, Deduplication
from finetune_trainer.prepare.barrier.likeness import Likeness, group_rows, likeness_of
from finetune_trainer.prepare.prints import prints_of
from finetune_trainer.tasks.rows import Messages
from finetune_trainer.tokenizers import Message
from known_duplicates import measure


def story(number: int, *, changed: int | None = None, answer: str = "yes") -> Messages:
    words = [f"story{number}word{place}" for place in range(100)]
    if changed is not None:
        words[changed] = "changed"
    return (Message("user", " ".join(words)), Message("assistant", answer))


def likeness(rows: list[Messages]) -> Likeness:
    with tempfile.TemporaryDirectory() as folder:
        return likeness_of(prints_of(rows), Path(folder) / "likeness")


def together(found: Likeness, kept: np.ndarray, assignment: Assignment, labels: list[int] | None = None) -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        given = None if labels is None else np.array(labels, dtype=np.uint64)
        return group_rows(found, kept, given, assignment, Path(folder) / "groups").tolist()


def test_of_known_duplicates_nine_of_ten_are_found_and_hardly_any_other() -> None:
    score, kinds = measure(600)
    assert score.planted > 300
    assert score.recalled >= 0.9 * score.planted
    assert score.right >= 0.9 * score.found
    assert score.nearly_right >= 0.99 * score.found
    assert "half rewritten" not in kinds


def test_exact_and_near_duplicates_leave_as_the_spec_says() -> None:
    found = likeness([story(1), story(2), story(1), story(1, changed=50), story(3)])
    assert found.kept(Deduplication.OFF).tolist() == [True] * 5
    assert found.kept(Deduplication.EXACT).tolist() == [True, True, False, True, True]
    assert found.kept(Deduplication.NEAR).tolist() == [True, True, False, False, True]
    assert found.repeated.tolist() == [0, 1, 0, 0, 4]


def test_the_same_input_with_another_output_is_a_conflict_and_stays() -> None:
    found = likeness([story(1), story(1, answer="no"), story(1, changed=3, answer="no")])
    assert found.kept(Deduplication.NEAR).tolist() == [True, True, False]
    assert found.equality.conflicts == 1
    assert together(found, found.kept(Deduplication.NEAR), Assignment.EXACT)[:2] == [0, 0]


def test_duplicates_that_are_kept_stay_together() -> None:
    found = likeness([story(1), story(2), story(1), story(1, changed=50), story(2, changed=1)])
    everything = np.ones(5, dtype=bool)
    for assignment in Assignment:
        assert together(found, everything, assignment) == [0, 1, 0, 0, 1]


def test_groups_join_what_is_alike() -> None:
    found = likeness([story(1), story(2), story(1, changed=50), story(3)])
    everything = np.ones(4, dtype=bool)
    assert together(found, everything, Assignment.EXACT, [0, 7, 7, 0]) == [0, 0, 0, 3]
    # Stable: the group stays where its first row is, for that cannot change.
    assert together(found, everything, Assignment.STABLE, [0, 7, 7, 0]) == [0, 1, 1, 3]


PIECES = st.lists(
    st.builds(story, st.integers(0, 6), changed=st.none() | st.integers(0, 99), answer=st.sampled_from(["a", "b"])),
    min_size=1,
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(PIECES, st.integers(1, 25))
def test_rows_that_are_added_change_nothing_for_those_before(rows: list[Messages], before: int) -> None:
    whole, part = likeness(rows), likeness(rows[:before])
    for deduplication in Deduplication:
        kept, kept_before = whole.kept(deduplication), part.kept(deduplication)
        assert kept[:before].tolist() == kept_before.tolist()
        groups = together(whole, kept, Assignment.STABLE)
        assert groups[:before] == together(part, kept_before, Assignment.STABLE)


@settings(max_examples=30, deadline=None)
@given(PIECES)
def test_what_is_alike_is_never_parted(rows: list[Messages]) -> None:
    found = likeness(rows)
    for deduplication in Deduplication:
        kept = found.kept(deduplication)
        groups = together(found, kept, Assignment.EXACT)
        for one, other in [*found.alike.tolist(), *enumerate(found.equality.first.tolist())]:
            if kept[one] and kept[other]:
                assert groups[one] == groups[other]
