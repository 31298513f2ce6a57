"""Which documents share a row, which rows make a step, and which rank computes them. Pure: lengths in, indices out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from finetune_trainer.fitting import fit

Row = tuple[int, ...]
"""Indices of the documents of one row; the empty row is a dummy that trains nothing."""
DUMMY: Row = ()


@dataclass(frozen=True, eq=False)
class Rows(Sequence[Row]):
    """R rows, which hold each of N documents once: made when they are asked for, for millions of tuples are heavy."""

    _documents: NDArray[np.int32]
    """Shape (N,), row by row."""
    _starts: NDArray[np.int64]
    """Where each row begins in it, and where the last ends; shape (R + 1,)."""

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, index: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]
        return tuple(self._documents[self._starts[number] : self._starts[number + 1]].tolist())


@dataclass(frozen=True)
class Batch:
    """One optimizer step: its rows in their order, whatever the number of workers."""

    epoch: int
    """The pass over the data, from 0."""
    epoch_done: float
    """Share of that pass that is done once this step is."""
    rows: tuple[Row, ...]

    @property
    def documents(self) -> list[int]:
        return [document for row in self.rows for document in row]


def pack_epoch(lengths: NDArray[np.int32], *, sequence_length: int, seed: int, epoch: int) -> Rows:
    """Rows of at most `sequence_length` tokens that hold every document exactly once, whole.

    Which documents meet in a row, their order in it and the order of the rows is a function of (lengths,
    sequence_length, seed, epoch) alone: of integers, and of a generator whose numbers no version of numpy changes.
    Raises ValueError for a document that fits no row.
    """
    random = _numbers(seed, epoch)
    order, row_of, count = _place(lengths, sequence_length, random)
    ranks = np.empty(count, dtype=np.int32)
    ranks[_shuffled(count, random)] = np.arange(count, dtype=np.int32)
    row_of = ranks[row_of]
    starts = np.append(0, np.cumsum(np.bincount(row_of, minlength=count)))
    return Rows(order[np.argsort(row_of, kind="stable")], starts)


def _numbers(seed: int, epoch: int) -> np.random.Philox:
    return np.random.Philox(key=[seed, epoch])


def _shuffled(count: int, random: np.random.Philox) -> NDArray[np.int32]:
    """The numbers below `count` in a random order. numpy's own permutation may become another with any version."""
    return np.argsort(random.random_raw(count), kind="stable").astype(np.int32)


def _place(
    lengths: NDArray[np.int32], sequence_length: int, random: np.random.Philox
) -> tuple[NDArray[np.int32], NDArray[np.int32], int]:
    """The documents in a random order, the row of each, and the number of rows."""
    if len(lengths) and int(lengths.max()) > sequence_length:
        longest = int(lengths.argmax())
        raise ValueError(f"document {longest} has {lengths[longest]} tokens, a row holds {sequence_length}")
    order = _shuffled(len(lengths), random)
    return order, *fit(lengths[order], sequence_length)


def num_rows(lengths: NDArray[np.int32], *, sequence_length: int, seed: int, epochs: int) -> Iterator[int]:
    """Of each epoch: as many as `pack_epoch` makes."""
    for epoch in range(epochs):
        yield _place(lengths, sequence_length, _numbers(seed, epoch))[2]


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


def num_steps(rows: Iterable[int], *, global_batch_size: int, max_steps: int | None = None) -> int:
    """Optimizer steps of epochs with so many rows, `max_steps` at most: no later epoch is asked for."""
    total = 0
    for count in rows:
        total += -(-count // global_batch_size)
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
    rows: Sequence[Row], *, micro_steps: int, micro_batch_size: int, rank: int, world_size: int
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
