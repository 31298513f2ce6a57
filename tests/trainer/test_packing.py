from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_trainer.packing import (
    DUMMY,
    Batch,
    PlacedRow,
    accumulation,
    batches,
    micro_batches,
    num_rows,
    num_steps,
    pack_epoch,
)

LENGTHS = st.lists(st.integers(1, 64), max_size=200).map(lambda values: np.array(values, dtype=np.int32))
SEEDS = st.integers(0, 2**31 - 1)


@settings(deadline=None)
@given(LENGTHS, SEEDS, st.integers(0, 5))
def test_every_document_is_in_exactly_one_row_and_no_row_overflows(lengths, seed, epoch):
    rows = pack_epoch(lengths, sequence_length=64, seed=seed, epoch=epoch)
    assert sorted(chain.from_iterable(rows)) == list(range(len(lengths)))
    assert all(row and lengths[list(row)].sum() <= 64 for row in rows)
    assert len(rows) == list(num_rows(lengths, sequence_length=64, seed=seed, epochs=epoch + 1))[epoch]


@settings(deadline=None)
@given(LENGTHS, SEEDS)
def test_packing_is_a_function_of_seed_and_epoch(lengths, seed):
    first = pack_epoch(lengths, sequence_length=64, seed=seed, epoch=1)
    assert tuple(first) == tuple(pack_epoch(lengths.copy(), sequence_length=64, seed=seed, epoch=1))


def test_the_numbers_that_packing_is_made_of_are_the_same_everywhere_and_always():
    """A run that another version of numpy resumes must go on in the same order. A change here is a new RUN_FORMAT."""
    rows = pack_epoch(np.array([3, 9, 4, 12, 1, 2, 2, 3], dtype=np.int32), sequence_length=16, seed=7, epoch=1)
    assert tuple(rows) == ((3, 2), (1, 4, 0, 7), (6, 5))


def test_another_epoch_and_another_seed_bring_other_documents_together():
    lengths = np.arange(1, 65, dtype=np.int32)
    met = {
        frozenset(frozenset(row) for row in pack_epoch(lengths, sequence_length=256, seed=seed, epoch=epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(met) == 4


def test_rows_stand_in_no_order_of_their_documents_lengths():
    lengths = np.random.default_rng(0).integers(10, 100, 5000).astype(np.int32)
    rows = pack_epoch(lengths, sequence_length=512, seed=0, epoch=0)
    means = np.array([lengths[list(row)].mean() for row in rows])
    assert abs(np.corrcoef(means, np.arange(len(rows)))[0, 1]) < 0.1
    # Dealt out at random, a document tells little of those beside it.
    assert means.std() < 1.5 * lengths.std() / np.sqrt(len(lengths) / len(rows))


def test_a_slice_of_rows_is_what_stands_there():
    lengths = np.random.default_rng(0).integers(1, 60, 100).astype(np.int32)
    rows = pack_epoch(lengths, sequence_length=64, seed=0, epoch=0)
    assert rows[2:5] == tuple(rows)[2:5]
    assert rows[-1] == tuple(rows)[-1]
    with pytest.raises(IndexError):
        rows[len(rows)]


DISTRIBUTIONS = {
    "of a chat": lambda random: random.lognormal(4.8, 0.6, 20_000).clip(8, 2048),
    "of tweets": lambda random: random.integers(5, 60, 20_000),
    "evenly to a quarter of a row": lambda random: random.integers(1, 512, 20_000),
    "evenly from a tenth to a quarter of a row": lambda random: random.integers(205, 513, 20_000),
    "of two kinds": lambda random: np.where(
        random.random(20_000) < 0.5, random.integers(20, 60, 20_000), random.integers(300, 500, 20_000)
    ),
    "with a long tail": lambda random: (random.pareto(2, 20_000) * 40 + 20).clip(1, 2048),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("epoch", [0, 1])
def test_rows_are_99_percent_full_where_documents_are_short(name, epoch):
    lengths = DISTRIBUTIONS[name](np.random.default_rng(0)).astype(np.int32)
    assert np.percentile(lengths, 99) <= 2048 / 4
    rows = pack_epoch(lengths, sequence_length=2048, seed=0, epoch=epoch)
    assert lengths.sum() / (2048 * len(rows)) > 0.99


def test_rows_are_full_where_documents_of_any_length_can_fill_them():
    lengths = np.random.default_rng(0).integers(1, 2049, 20_000).astype(np.int32)
    rows = pack_epoch(lengths, sequence_length=2048, seed=0, epoch=0)
    assert lengths.sum() / (2048 * len(rows)) > 0.99


def test_a_row_never_holds_more_than_a_document_of_full_length_beside_it():
    rows = pack_epoch(np.array([64, 1, 64], dtype=np.int32), sequence_length=64, seed=0, epoch=0)
    assert sorted(rows) == [(0,), (1,), (2,)]


def test_a_document_that_fits_no_row_is_refused_by_number():
    with pytest.raises(ValueError, match="document 1 has 65 tokens, a row holds 64"):
        pack_epoch(np.array([3, 65], dtype=np.int32), sequence_length=64, seed=0, epoch=0)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, SEEDS, st.integers(1, 12), st.integers(1, 3))
def test_batches_hold_each_epochs_rows_in_order_and_evenly(lengths, seed, size, epochs):
    plan = list(batches(lengths, sequence_length=64, global_batch_size=size, seed=seed, epochs=epochs))
    counts = num_rows(lengths, sequence_length=64, seed=seed, epochs=epochs)
    assert len(plan) == num_steps(counts, global_batch_size=size)
    for epoch in range(epochs):
        sizes = [len(batch.rows) for batch in plan if batch.epoch == epoch]
        rows = tuple(chain.from_iterable(batch.rows for batch in plan if batch.epoch == epoch))
        assert rows == tuple(pack_epoch(lengths, sequence_length=64, seed=seed, epoch=epoch))
        assert all(1 <= number <= size for number in sizes)
        assert not sizes or max(sizes) - min(sizes) <= 1


def test_steps_end_at_max_steps_and_no_later_epoch_is_packed():
    assert num_steps([10] * 1000, global_batch_size=4) == 3000
    counts = iter([10] * 1000)
    assert num_steps(counts, global_batch_size=4, max_steps=7) == 7
    assert len(list(counts)) == 997


def test_the_share_of_the_epoch_grows_to_one():
    lengths = np.full(10, 64, dtype=np.int32)
    plan = list(batches(lengths, sequence_length=64, global_batch_size=5, seed=0, epochs=2))
    assert [(batch.epoch, batch.epoch_done) for batch in plan] == [(0, 0.5), (0, 1.0), (1, 0.5), (1, 1.0)]


@settings(max_examples=50, deadline=None)
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


def test_a_batch_names_the_documents_of_all_its_rows():
    assert Batch(0, 1.0, ((3, 1), DUMMY, (2,))).documents == [3, 1, 2]
