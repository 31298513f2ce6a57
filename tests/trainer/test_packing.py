from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_trainer.packing import (
    WINDOW,
    Batch,
    PlacedRow,
    accumulation,
    batches,
    micro_batches,
    num_steps,
    pack_epoch,
)

LENGTHS = st.lists(st.integers(1, 64), max_size=200).map(lambda values: np.array(values, dtype=np.int32))
SEEDS = st.integers(0, 2**31 - 1)


@given(LENGTHS, SEEDS, st.integers(0, 5))
def test_every_document_is_in_exactly_one_row_and_no_row_overflows(lengths, seed, epoch):
    rows = pack_epoch(lengths, sequence_length=64, seed=seed, epoch=epoch)
    assert sorted(chain.from_iterable(rows)) == list(range(len(lengths)))
    assert all(row and lengths[list(row)].sum() <= 64 for row in rows)


@given(LENGTHS, SEEDS)
def test_packing_is_a_function_of_seed_and_epoch(lengths, seed):
    first = pack_epoch(lengths, sequence_length=64, seed=seed, epoch=1)
    assert first == pack_epoch(lengths.copy(), sequence_length=64, seed=seed, epoch=1)


def test_another_epoch_and_another_seed_give_another_order():
    lengths = np.arange(1, 65, dtype=np.int32)
    orders = {pack_epoch(lengths, sequence_length=64, seed=seed, epoch=epoch) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4


def test_rows_are_well_filled_over_several_windows():
    lengths = np.random.default_rng(0).integers(10, 400, 3 * WINDOW).astype(np.int32)
    rows = pack_epoch(lengths, sequence_length=512, seed=0, epoch=0)
    assert lengths.sum() / (512 * len(rows)) > 0.99


def test_a_row_never_holds_more_than_a_document_of_full_length_beside_it():
    rows = pack_epoch(np.array([64, 1, 64], dtype=np.int32), sequence_length=64, seed=0, epoch=0)
    assert sorted(rows) == [(0,), (1,), (2,)]


def test_a_document_that_fits_no_row_is_refused_by_number():
    with pytest.raises(ValueError, match="document 1 has 65 tokens, a row holds 64"):
        pack_epoch(np.array([3, 65], dtype=np.int32), sequence_length=64, seed=0, epoch=0)


@settings(max_examples=50)
@given(LENGTHS, SEEDS, st.integers(1, 12), st.integers(1, 3))
def test_batches_hold_each_epochs_rows_in_order_and_evenly(lengths, seed, size, epochs):
    plan = list(batches(lengths, sequence_length=64, global_batch_size=size, seed=seed, epochs=epochs))
    assert len(plan) == num_steps(lengths, sequence_length=64, global_batch_size=size, seed=seed, epochs=epochs)
    for epoch in range(epochs):
        sizes = [len(batch.rows) for batch in plan if batch.epoch == epoch]
        rows = tuple(chain.from_iterable(batch.rows for batch in plan if batch.epoch == epoch))
        assert rows == pack_epoch(lengths, sequence_length=64, seed=seed, epoch=epoch)
        assert all(1 <= number <= size for number in sizes)
        assert not sizes or max(sizes) - min(sizes) <= 1


def test_steps_end_at_max_steps():
    lengths = np.full(10, 64, dtype=np.int32)
    arguments = {"sequence_length": 64, "global_batch_size": 4, "seed": 0, "epochs": 1000}
    assert num_steps(lengths, **arguments) == 3000
    assert num_steps(lengths, **arguments, max_steps=7) == 7


def test_the_share_of_the_epoch_grows_to_one():
    lengths = np.full(10, 64, dtype=np.int32)
    plan = list(batches(lengths, sequence_length=64, global_batch_size=5, seed=0, epochs=2))
    assert [(batch.epoch, batch.epoch_done) for batch in plan] == [(0, 0.5), (0, 1.0), (1, 0.5), (1, 1.0)]


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 3))
def test_the_sequence_of_rows_is_the_same_for_any_number_of_ranks(size, world_size, micro_batch_size):
    rows = tuple((index,) for index in range(size))
    micro_steps = accumulation(size, world_size=world_size, micro_batch_size=micro_batch_size)
    shares = [
        micro_batches(
            rows, micro_steps=micro_steps, micro_batch_size=micro_batch_size, rank=rank, world_size=world_size
        )
        for rank in range(world_size)
    ]
    sequence = [row for step in range(micro_steps) for share in shares for row in share[step]]
    assert [row.place for row in sequence] == list(range(micro_steps * world_size * micro_batch_size))
    assert tuple(row.documents for row in sequence[:size]) == rows
    assert all(row.documents == () for row in sequence[size:])


def test_a_batch_that_does_not_divide_is_filled_with_dummies():
    share = micro_batches(((7,), (8,), (9,)), micro_steps=1, micro_batch_size=2, rank=1, world_size=2)
    assert share == ((PlacedRow(2, (9,)), PlacedRow(3, ())),)


def test_no_documents_make_no_steps():
    assert list(batches(np.array([], dtype=np.int32), sequence_length=8, global_batch_size=2, seed=0, epochs=3)) == []
    assert Batch(0, 1.0, ((0,),)) == next(
        batches(np.array([5], dtype=np.int32), sequence_length=8, global_batch_size=2, seed=0, epochs=1)
    )
