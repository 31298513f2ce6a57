"""Which checkpoints may go, in which order their objects do, and which one is gone back to. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from finetune_trainer.checkpoint.layout import CHECKPOINTS, MANIFEST, Entry, Head
from finetune_trainer.divergence import SUSPECTS

_KEY = re.compile(rf"^{CHECKPOINTS}/step-(\d+)/epoch-(\d+)/(.+)$")


def kept(entries: tuple[Entry, ...], keep_last: int) -> tuple[Entry, ...]:
    """The newest `keep_last`, which lie at the end; two for a way back; and what any of these name as their best.

    The way back is the newest that no step is older than which would be left out if the next one went wrong, and the
    one after it, which takes its place in time: where a checkpoint holds few steps, none of the newest would be old
    enough, and none would ever become so.
    """
    way_back = entries.index(before(entries, entries[-1].step + 1 - SUSPECTS))
    staying = (*entries[way_back : way_back + 2], *entries[-keep_last:])
    best = {entry.best_step for entry in staying}
    return tuple(entry for entry in entries if entry in staying or entry.step in best)


def before(entries: tuple[Entry, ...], step: int) -> Entry:
    """Where to go back to: the newest checkpoint up to `step`, the oldest where all are newer."""
    return next((entry for entry in reversed(entries) if entry.step <= step), entries[0])


def to_delete(keys: Iterable[str], head: Head) -> tuple[str, ...]:
    """Of a run's keys those that no reader can reach any more, in the order to delete them: manifests first, so that
    a deletion that stops halfway leaves no manifest without its shards.

    `head` is what the caller itself wrote last: nothing of an epoch after its own, and nothing after its newest
    checkpoint, is judged. Keys of an older epoch can never be committed, so they go too.
    """
    listed = {(entry.step, entry.epoch) for entry in head.checkpoints}
    newest = head.checkpoints[-1].step if head.checkpoints else -1

    def unreachable(key: str) -> bool:
        match = _KEY.match(key)
        if match is None:
            return False
        step, epoch = int(match[1]), int(match[2])
        return (step, epoch) not in listed and (epoch < head.epoch or (epoch == head.epoch and step <= newest))

    return tuple(sorted(filter(unreachable, keys), key=lambda key: (not key.endswith(f"/{MANIFEST}"), key)))
