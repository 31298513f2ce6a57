"""Which stretches of which shards fill the partitions of another number of ranks, and who brings them. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from finetune_trainer.checkpoint.layout import Piece


class NotCovered(ValueError):
    """The shards do not hold every element that is wanted: they are of another model or adapter."""


@dataclass(frozen=True)
class Copy:
    """Elements [source, source + length) of a shard go to [target, target + length)."""

    shard: int
    source: int
    target: int
    length: int


def copies(wanted: Iterable[Piece], shards: Sequence[Sequence[Piece]]) -> tuple[Copy, ...]:
    """How `wanted` is filled from `shards`, each element exactly once, ordered by shard. Raises NotCovered."""
    stored: dict[str, list[tuple[int, int, Piece]]] = defaultdict(list)
    for number, pieces in enumerate(shards):
        for piece in pieces:
            stored[piece.parameter].append((piece.start, number, piece))
    for stretches in stored.values():
        stretches.sort(key=lambda stretch: stretch[:2])
    found = [copy for piece in wanted for copy in _fill(piece, stored[piece.parameter])]
    return tuple(sorted(found, key=lambda copy: (copy.shard, copy.source)))


def _fill(piece: Piece, stored: Sequence[tuple[int, int, Piece]]) -> Iterable[Copy]:
    position, end = piece.start, piece.start + piece.length
    index = max(bisect_right(stored, position, key=lambda stretch: stretch[0]) - 1, 0)
    while position < end:
        if index == len(stored) or not stored[index][0] <= position < stored[index][0] + stored[index][2].length:
            raise NotCovered(f"no shard holds element {position} of {piece.parameter}")
        start, shard, source = stored[index]
        length = min(end, start + source.length) - position
        yield Copy(shard, source.offset + position - start, piece.offset + position - piece.start, length)
        position += length
        index += 1


def shared_out(wanted: Sequence[tuple[str, Sequence[int]]], rank: int) -> dict[int, int]:
    """Of each rank its pod and the shards it reads: which rank of this one's pod brings each of those that it reads."""
    pod = wanted[rank][0]
    here = [other for other, (place, _) in enumerate(wanted) if place == pod]
    shards = sorted({shard for other in here for shard in wanted[other][1]})
    return {shard: here[index % len(here)] for index, shard in enumerate(shards)}
