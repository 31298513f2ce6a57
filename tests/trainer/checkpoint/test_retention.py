"""What may go, and in which order."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.checkpoint.layout import Entry, Head, manifest_key, shard_key
from finetune_trainer.checkpoint.retention import before, kept, to_delete
from finetune_trainer.divergence import SUSPECTS


def entry(step: int, epoch: int = 1, best: int | None = None) -> Entry:
    return Entry(step=step, epoch=epoch, manifest_sha256="0" * 64, best_step=best)


def head(*entries: Entry, epoch: int = 1) -> Head:
    return Head(epoch=epoch, owner="uid", writer="w", renewed=datetime(2026, 1, 1, tzinfo=UTC), checkpoints=entries)


def keys(step: int, epoch: int = 1) -> list[str]:
    return [manifest_key(step, epoch), shard_key(step, epoch, 0), shard_key(step, epoch, 1)]


def test_the_newest_are_kept() -> None:
    assert kept((entry(10), entry(20), entry(30)), 2) == (entry(20), entry(30))
    assert kept((entry(1),), 2) == (entry(1),)


def test_the_best_stays_as_long_as_a_checkpoint_that_would_publish_it() -> None:
    first, second, third = entry(10, best=10), entry(20, best=10), entry(30, best=10)
    fourth, fifth = entry(40, best=40), entry(50, best=40)
    assert kept((first, second, third), 2) == (first, second, third)
    assert kept((first, third, fourth), 2) == (first, third, fourth)
    assert kept((first, third, fourth, fifth), 2) == (fourth, fifth)


def test_the_best_of_the_way_back_stays_too() -> None:
    entries = entry(10, best=10), entry(20, best=10), entry(29, best=29), entry(30, best=29)
    assert kept(entries, 1) == entries


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(1, 4))
def test_however_few_steps_a_checkpoint_holds_the_way_back_leads_before_all_that_is_left_out(
    gaps: list[int], keep_last: int
) -> None:
    entries: tuple[Entry, ...] = (entry(0),)
    for step, following in pairwise(accumulate([*gaps, 1])):
        entries = kept((*entries, entry(step)), keep_last)
        assert len(entries) <= keep_last + 2
        for wrong in range(step + 1, following + 1):
            goal = before(entries, wrong - SUSPECTS).step
            assert goal <= max(0, wrong - SUSPECTS)
            # Nor is more taken again than need be.
            assert goal > wrong - 2 * (SUSPECTS + max(gaps))


def test_the_way_back_leads_to_the_newest_that_is_old_enough_or_to_the_oldest() -> None:
    entries = entry(0), entry(10), entry(20)
    assert [before(entries, step).step for step in (30, 20, 19, 9, -1)] == [20, 20, 10, 0, 0]
    assert before(entries[1:], 5) == entries[1]


def test_manifests_go_before_shards() -> None:
    assert to_delete(sorted([*keys(1), *keys(2), *keys(3)]), head(entry(3))) == (
        manifest_key(1, 1),
        manifest_key(2, 1),
        shard_key(1, 1, 0),
        shard_key(1, 1, 1),
        shard_key(2, 1, 0),
        shard_key(2, 1, 1),
    )


def test_what_head_lists_stays() -> None:
    assert to_delete([*keys(1), *keys(2)], head(entry(1), entry(2))) == ()


def test_a_save_that_is_under_way_stays() -> None:
    assert to_delete([*keys(10), *keys(20)], head(entry(10))) == ()


def test_what_an_older_epoch_left_uncommitted_goes_whatever_its_step() -> None:
    assert to_delete([*keys(10, 1), *keys(30, 1)], head(entry(10, 1), epoch=2)) == tuple(keys(30, 1))


def test_a_fenced_writer_deletes_nothing_of_a_newer_epoch() -> None:
    assert to_delete([*keys(10, 1), *keys(5, 2)], head(entry(10, 1), epoch=1)) == ()


def test_other_objects_of_the_run_are_not_its_business() -> None:
    assert to_delete(["HEAD.json", "published/epoch-0001/manifest.json", "checkpoints/notes.txt"], head(epoch=9)) == ()
