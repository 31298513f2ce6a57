"""Which documents share a row, which rows make a step, and which rank computes them. Pure: lengths in, indices out."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Row = tuple[int, ...]
"""Indices of the documents of one row; the empty row is a dummy that trains nothing."""
DUMMY: Row = ()

WINDOW = 4096
"""Documents that are packed together: large enough for rows that are 99 % full, small enough to mix an epoch well."""


@dataclass(frozen=True)
class Batch:
    """One optimizer step: its rows in their order, whatever the number of workers."""

    epoch: int
    """The pass over the data, from 0."""
    epoch_done: float
    """Share of that pass that is done once this step is."""
    rows: tuple[Row, ...]


def pack_epoch(lengths: NDArray[np.int32], *, sequence_length: int, seed: int, epoch: int) -> tuple[Row, ...]:
    """Rows of at most `sequence_length` tokens that hold every document exactly once, whole.

    Documents are shuffled, packed best fit decreasing inside windows, and the rows shuffled again: a function of
    (lengths, sequence_length, seed, epoch) alone. Raises ValueError for a document that fits no row.
    """
    if len(lengths) and int(lengths.max()) > sequence_length:
        longest = int(lengths.argmax())
        raise ValueError(f"document {longest} has {lengths[longest]} tokens, a row holds {sequence_length}")
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(lengths))
    rows = [
        row
        for start in range(0, len(order), WINDOW)
        for row in _best_fit_decreasing(order[start : start + WINDOW], lengths, sequence_length)
    ]
    return tuple(rows[index] for index in generator.permutation(len(rows)))


def _best_fit_decreasing(documents: NDArray[np.int64], lengths: NDArray[np.int32], sequence_length: int) -> list[Row]:
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (tokens free, row), ascending
    for document in documents[np.argsort(-lengths[documents], kind="stable")].tolist():
        length = int(lengths[document])
        place = bisect_left(free, (length, -1))
        if place < len(free):
            left, row = free.pop(place)
            rows[row].append(document)
        else:
            left, row = sequence_length, len(rows)
            rows.append([document])
        insort(free, (left - length, row))
    return [tuple(row) for row in rows]


def batches(
    lengths: NDArray[np.int32], *, sequence_length: int, global_batch_size: int, seed: int, epochs: int
) -> Iterator[Batch]:
    """The optimizer steps of all epochs, in order; none spans two epochs.

    An epoch takes as few steps of at most `global_batch_size` rows as it can, and these differ by one row at most:
    a rest of a few rows would make one noisy step that counts as much as a full one.
    """
    for epoch in range(epochs):
        rows = pack_epoch(lengths, sequence_length=sequence_length, seed=seed, epoch=epoch)
        steps = -(-len(rows) // global_batch_size)
        for step in range(steps):
            share = rows[step * len(rows) // steps : (step + 1) * len(rows) // steps]
            yield Batch(epoch, (step + 1) / steps, share)


def num_steps(
    lengths: NDArray[np.int32],
    *,
    sequence_length: int,
    global_batch_size: int,
    seed: int,
    epochs: int,
    max_steps: int | None = None,
) -> int:
    """Optimizer steps of all epochs, `max_steps` at most."""
    total = 0
    for epoch in range(epochs):
        rows = pack_epoch(lengths, sequence_length=sequence_length, seed=seed, epoch=epoch)
        total += -(-len(rows) // global_batch_size)
        if max_steps is not None and total >= max_steps:
            return max_steps
    return total


def accumulation(global_batch_size: int, *, world_size: int, micro_batch_size: int) -> int:
    """Micro steps that each rank takes per optimizer step."""
    return -(-global_batch_size // (world_size * micro_batch_size))


@dataclass(frozen=True)
class PlacedRow:
    """A row and its place in its batch, which seeds its dropout."""

    place: int
    documents: Row


def micro_batches(
    rows: tuple[Row, ...], *, micro_steps: int, micro_batch_size: int, rank: int, world_size: int
) -> tuple[tuple[PlacedRow, ...], ...]:
    """What `rank` computes of one step: `micro_steps` groups of `micro_batch_size` rows.

    Every rank gets equally many; places past the end hold dummies. Read by micro step, then rank, the groups are the
    rows in their order.
    """
    if len(rows) > micro_steps * micro_batch_size * world_size:
        raise ValueError(f"{len(rows)} rows do not fit {micro_steps} micro steps")

    def placed(place: int) -> PlacedRow:
        return PlacedRow(place, rows[place] if place < len(rows) else DUMMY)

    return tuple(
        tuple(
            placed((micro_step * world_size + rank) * micro_batch_size + offset) for offset in range(micro_batch_size)
        )
        for micro_step in range(micro_steps)
    )
