"""The protocol by which a checkpoint counts, with every writer stopped or interrupted at every one of its changes."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_api.contract import ExitCode
from finetune_trainer.checkpoint.commit import Fenced, Run, open_run, read_head, read_manifest
from finetune_trainer.checkpoint.layout import Entry, Head, Manifest, Shard, Skipped, shard_key
from finetune_trainer.failures import StageFailed
from finetune_trainer.storage import PreconditionFailed, Storage, StoredObject, StoreUnavailable
from finetune_trainer.verified import Damaged
from memory_storage import Crash, MemoryStorage, WatchedStorage, crash_at

URI = "s3://bucket/runs/r"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Stands still, but for the seconds somebody sleeps."""

    def __init__(self, during_sleep: Callable[[], Any] = lambda: None) -> None:
        self.now = START
        self.slept = 0.0
        self._during_sleep = during_sleep

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.slept += seconds
        self._during_sleep()


def start(storage: Storage, owner: str = "uid", clock: Clock | None = None) -> Run:
    clock = clock or Clock()
    return open_run(storage, URI, owner=owner, clock=clock, sleep=clock.sleep)


def save(storage: Storage, run: Run, step: int, keep_last: int = 2) -> None:
    """What a gang of two does, its processes and threads left out."""
    shards = []
    for rank in range(2):
        key, content = shard_key(step, run.epoch, rank), f"{step} {run.epoch} {rank}".encode()
        storage.write(f"{URI}/{key}", content)
        shards.append(Shard(key=key, size=len(content), sha256=hashlib.sha256(content).hexdigest(), pieces=()))
    run.commit(
        Manifest(step=step, epoch=run.epoch, optimizer_step=step, shards=tuple(shards), state={"step": step}),
        keep_last=keep_last,
    )


def loadable_steps(storage: Storage) -> list[int]:
    """Steps that HEAD lists, every byte of each verified."""
    head = read_head(storage, URI)
    steps = []
    for entry in head.checkpoints if head else ():
        manifest = read_manifest(storage, URI, entry)
        for shard in manifest.shards:
            content, _ = storage.read(f"{URI}/{shard.key}")
            assert (len(content), hashlib.sha256(content).hexdigest()) == (shard.size, shard.sha256)
        steps.append(manifest.step)
    return steps


def test_the_first_start_writes_head() -> None:
    storage = MemoryStorage()

    run = start(storage)

    assert read_head(storage, URI) == run.head
    assert run.head == Head(epoch=1, owner="uid", writer=run.head.writer, renewed=START)


def test_every_start_raises_the_epoch_and_keeps_the_checkpoints() -> None:
    storage = MemoryStorage()
    save(storage, start(storage), 10)

    second = start(storage)

    assert second.epoch == 2
    assert [(entry.step, entry.epoch) for entry in second.head.checkpoints] == [(10, 1)]


def test_only_the_last_checkpoints_and_their_objects_stay() -> None:
    storage = MemoryStorage()
    run = start(storage)
    for step in (10, 20, 30):
        save(storage, run, step)

    assert loadable_steps(storage) == [20, 30]
    assert len(storage.objects) == 1 + 2 * 3


def test_what_an_earlier_start_left_half_done_is_collected_with_the_next_commit() -> None:
    storage = MemoryStorage()
    first = start(storage)
    storage.write(f"{URI}/{shard_key(99, first.epoch, 0)}", b"never committed")

    save(storage, start(storage), 10)

    assert [uri for uri in storage.objects if "step-00000099" in uri] == []


def test_what_is_skipped_stays_so_and_checkpoints_that_saw_it_count_no_more() -> None:
    storage = MemoryStorage()
    run = start(storage)
    for step in (0, 10, 20, 30):
        save(storage, run, step, keep_last=9)

    run.skip(range(19, 33), "the loss is not finite")

    skipped = Skipped(first=19, last=32, reason="the loss is not finite")
    assert loadable_steps(storage) == [0, 10]
    again = start(storage)
    assert again.head.skipped == (skipped,)
    save(storage, again, 40)
    assert again.head.skipped == (skipped,)
    assert loadable_steps(storage) == [10, 40]
    assert [uri for uri in storage.objects if "step-00000020" in uri or "step-00000030" in uri] == []


def test_where_only_younger_checkpoints_are_left_less_is_skipped() -> None:
    storage = MemoryStorage()
    run = start(storage)
    for step in (10, 20, 30):
        save(storage, run, step)

    run.skip(range(19, 33), "a spike")

    assert (run.head.skipped[0].first, run.head.skipped[0].last) == (21, 32)
    assert loadable_steps(storage) == [20]


def test_a_roll_back_whose_answer_was_lost_counts_once() -> None:
    class Forgetful(WatchedStorage):
        """Is asked again by its client, and refuses what was applied the first time."""

        forgot = False

        def write(self, uri: str, content: bytes, **condition: Any) -> StoredObject:
            stored = super().write(uri, content, **condition)
            if b"a spike" in content and not self.forgot:
                self.forgot = True
                raise PreconditionFailed(uri)
            return stored

    storage = Forgetful(MemoryStorage())
    run = start(storage)
    for step in (0, 10):
        save(storage, run, step)

    run.skip(range(7, 17), "a spike")

    assert [(skipped.first, skipped.last) for skipped in run.head.skipped] == [(7, 16)]
    assert loadable_steps(storage) == [0]


def test_a_fenced_writer_is_refused_and_told_to_retry() -> None:
    storage = MemoryStorage()
    zombie = start(storage)
    save(storage, zombie, 10)
    save(storage, start(storage), 20)

    with pytest.raises(Fenced) as refusal:
        save(storage, zombie, 30)
    assert refusal.value.exit_code == ExitCode.RETRY
    with pytest.raises(Fenced):
        zombie.check()
    with pytest.raises(Fenced):
        zombie.publish("published/epoch-0001/manifest.json", b"{}", 30)
    zombie.close()
    assert loadable_steps(storage) == [10, 20]
    assert read_head(storage, URI).published is None


def test_another_owner_that_renews_is_in_use() -> None:
    storage = MemoryStorage()
    theirs = Clock()
    other = start(storage, "other", theirs)

    def renew() -> None:
        theirs.now += timedelta(seconds=5)
        save(storage, other, int(theirs.now.timestamp()))

    ours = Clock(during_sleep=renew)
    with pytest.raises(
        StageFailed, match=r"FineTuneJob with uid other: give this one another spec\.output\.uri"
    ) as refusal:
        start(storage, "uid", ours)
    assert (refusal.value.exit_code, refusal.value.failure.reason) == (ExitCode.BAD_CONFIG, "OutputInUse")
    assert read_head(storage, URI).owner == "other"
    assert ours.slept <= 30


@pytest.mark.parametrize("ahead", [0, 3600], ids=["clocks agree", "its clock was ahead"])
def test_another_owner_that_is_silent_is_taken_for_dead_after_the_lease(ahead: int) -> None:
    storage = MemoryStorage()
    theirs = Clock()
    theirs.now += timedelta(seconds=ahead)
    start(storage, "other", theirs)

    ours = Clock()
    run = start(storage, "uid", ours)

    assert (run.epoch, run.head.owner) == (2, "uid")
    assert 115 <= ours.slept <= 125


def test_another_owner_that_has_left_or_was_silent_for_long_is_not_waited_for() -> None:
    storage = MemoryStorage()
    start(storage, "first").close()
    ours = Clock()
    start(storage, "second", ours)
    ours.now += timedelta(minutes=3)
    run = start(storage, "third", ours)

    assert (run.epoch, ours.slept) == (3, 0)


def test_two_starts_at_once_get_two_epochs() -> None:
    inner = MemoryStorage()
    other: list[Run] = []

    def start_another(change: int) -> None:
        if change == 1:
            other.append(start(inner))

    ours = start(WatchedStorage(inner, before=start_another))

    assert (other[0].epoch, ours.epoch) == (1, 2)
    with pytest.raises(Fenced):
        save(inner, other[0], 1)


def test_a_write_that_was_applied_though_it_seemed_lost_does_not_fence_its_own_writer() -> None:
    class Forgetful(WatchedStorage):
        def write(self, uri: str, content: bytes, **condition: Any) -> StoredObject:
            stored = super().write(uri, content, **condition)
            if uri.endswith("HEAD.json") and self.changes == 5:
                raise StoreUnavailable("the answer was lost for ten minutes")
            return stored

    storage = Forgetful(MemoryStorage())
    run = start(storage)
    with pytest.raises(StoreUnavailable):
        save(storage, run, 10)

    save(storage, run, 20)

    assert loadable_steps(storage) == [10, 20]


class Beats(WatchedStorage):
    """Tells when HEAD has been renewed a few times, or a heartbeat has been refused."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.enough = threading.Event()

    def write(self, uri: str, content: bytes, **condition: Any) -> StoredObject:
        try:
            return super().write(uri, content, **condition)
        except PreconditionFailed:
            self.enough.set()
            raise
        finally:
            if self.changes >= 5:
                self.enough.set()


def test_a_heartbeat_renews_head_until_the_run_is_left() -> None:
    storage, clock = Beats(MemoryStorage()), Clock()
    run = start(storage, clock=clock)
    clock.now += timedelta(hours=1)

    run.keep_alive(every_seconds=0.001)
    assert storage.enough.wait(30)
    assert read_head(storage, URI).renewed == clock.now
    run.close()

    assert read_head(storage, URI).renewed is None
    after = storage.changes
    run.check()
    assert storage.changes == after


def test_a_heartbeat_notices_that_the_run_was_taken_over() -> None:
    inner = MemoryStorage()
    storage = Beats(inner)
    run = start(storage)
    start(inner)

    run.keep_alive(every_seconds=0.001)
    assert storage.enough.wait(30)
    run.close()

    with pytest.raises(Fenced):
        run.check()
    assert read_head(inner, URI).renewed == START


def test_a_store_that_does_not_answer_holds_nobody_up_who_leaves() -> None:
    answers = threading.Event()
    storage = WatchedStorage(MemoryStorage())
    run = start(storage)
    storage.before = lambda _: answers.wait(60) or None

    run.close(within_seconds=0.01)

    assert read_head(storage, URI).renewed == START
    answers.set()


def test_a_damaged_head_ends_the_job_and_says_what_to_do() -> None:
    storage = MemoryStorage()
    storage.write(f"{URI}/HEAD.json", b"{]")

    with pytest.raises(StageFailed, match=r"HEAD\.json is damaged: restore") as failure:
        start(storage)
    assert failure.value.exit_code == ExitCode.CHECKPOINTS_CORRUPT


def test_corrupt_entries_are_forgotten() -> None:
    storage = MemoryStorage()
    run = start(storage)
    save(storage, run, 10)
    save(storage, run, 20)

    run.forget(run.head.checkpoints[1:])

    assert loadable_steps(storage) == [10]


def test_a_publication_counts_when_head_names_it() -> None:
    storage = MemoryStorage()
    run = start(storage)

    entry = run.publish("published/epoch-0001/manifest.json", b"{}", 30)

    assert entry == Entry(step=30, epoch=1, manifest_sha256=hashlib.sha256(b"{}").hexdigest())
    assert start(storage).head.published == entry


def _count_changes(steps: int) -> int:
    watched = WatchedStorage(MemoryStorage())
    run = start(watched)
    for step in range(1, steps + 1):
        save(watched, run, 10 * step)
    return watched.changes


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_change_loses_no_committed_checkpoint(moment: str) -> None:
    """Then another start carries on, itself crashing at every change of its own."""
    total = _count_changes(4)
    assert total == 23
    for first in range(1, total + 1):
        for second in (*range(1, 16), None):
            inner = MemoryStorage()
            committed = 0
            for number in (first, second, None):
                hook = {} if number is None else {moment: crash_at(number)}
                storage = WatchedStorage(inner, **hook)
                try:
                    run = start(storage)
                    assert (loadable_steps(inner) or [0])[-1] == committed
                    for step in range(committed + 10, committed + 50, 10):
                        save(storage, run, step)
                        committed = step
                except Crash:
                    pass
                steps = loadable_steps(inner)
                assert not committed or steps[-1] in (committed, committed + 10)
                committed = steps[-1] if steps else 0
            # The last start had no crash: nothing that cannot be reached is left.
            assert len(inner.objects) == 1 + 2 * 3


Action = tuple[int, int, str]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 9), st.sampled_from(["start", "save", "crash"])),
        min_size=2,
        max_size=12,
    ),
    st.integers(1, 3),
)
def test_with_zombies_interrupting_each_other_the_last_good_checkpoint_is_always_loadable(
    plan: list[Action], keep_last: int
) -> None:
    inner = MemoryStorage()
    gangs: list[tuple[Run, WatchedStorage]] = []
    step = 0
    committed: list[int] = []
    busy: set[int] = set()

    def start_a_gang() -> None:
        storage = WatchedStorage(inner)
        gangs.append((start(storage), storage))

    def act(depth: int) -> None:
        nonlocal step
        if not plan or depth > 3:
            return
        who, when, what = plan.pop()
        if what == "start":
            start_a_gang()
            return
        index = who % len(gangs)
        if index in busy:  # a gang has one writer
            return
        run, storage = gangs[index]
        busy.add(index)
        step += 1
        own, crash = step, crash_at(storage.changes + when)

        def interrupt(change: int, due: int = storage.changes + when) -> None:
            if change == due:
                act(depth + 1)

        storage.before = crash if what == "crash" else interrupt
        if _quietly(lambda: save(storage, run, own, keep_last)):
            committed.append(own)
        storage.before = lambda _: None
        busy.discard(index)

    start_a_gang()
    while plan:
        act(0)
        steps = loadable_steps(inner)
        assert len(steps) <= keep_last + 2
        if committed:
            # The newest that was acknowledged, or one that was committed while its writer was interrupted.
            assert steps[-1] >= committed[-1]
    save(inner, start(inner), step + 1, keep_last)
    assert loadable_steps(inner)[-1] == step + 1


def _quietly(action: Callable[[], None]) -> bool:
    try:
        action()
    except (Crash, Fenced, PreconditionFailed):
        return False
    return True


def test_flipped_bits_in_a_manifest_are_always_noticed() -> None:
    storage = MemoryStorage()
    run = start(storage)
    save(storage, run, 10)
    entry = run.head.checkpoints[0]
    uri = next(uri for uri in storage.objects if uri.endswith("manifest.json"))
    content = storage.read(uri)[0]
    dice = random.Random(0)

    for _ in range(2000):
        damaged = bytearray(content)
        damaged[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        storage.write(uri, bytes(damaged))
        with pytest.raises(Damaged, match="is not what was written there"):
            read_manifest(storage, URI, entry)
