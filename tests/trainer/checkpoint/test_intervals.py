"""Any division of the state is filled from any other, each element once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.checkpoint.intervals import Copy, NotCovered, copies, shared_out
from finetune_trainer.checkpoint.layout import Piece


def divide(sizes: list[int], num_ranks: int) -> list[list[Piece]]:
    """As ZeRO does: parameters laid end to end, cut into equal partitions."""
    per_rank = -(-sum(sizes) // num_ranks)
    ranks: list[list[Piece]] = [[] for _ in range(num_ranks)]
    begin = 0
    for index, size in enumerate(sizes):
        for rank in range(num_ranks):
            start, end = max(begin, rank * per_rank), min(begin + size, (rank + 1) * per_rank)
            if start < end:
                ranks[rank].append(
                    Piece(
                        parameter=f"p{index}", start=start - begin, length=end - start, offset=start - rank * per_rank
                    )
                )
        begin += size
    return ranks


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 9), st.integers(1, 9))
def test_any_number_of_ranks_loads_what_any_number_wrote(sizes: list[int], num_written: int, num_read: int) -> None:
    values = np.arange(sum(sizes))
    per_written, per_read = -(-len(values) // num_written), -(-len(values) // num_read)
    shards = divide(sizes, num_written)
    padded = np.concatenate([values, np.full(per_written * num_written, -1)])
    written = [padded[rank * per_written : (rank + 1) * per_written] for rank in range(num_written)]

    read = np.full(per_read * num_read, -1)
    for rank, wanted in enumerate(divide(sizes, num_read)):
        for copy in copies(wanted, shards):
            target = rank * per_read + copy.target
            assert (read[target : target + copy.length] == -1).all()
            read[target : target + copy.length] = written[copy.shard][copy.source : copy.source + copy.length]

    assert (read[: len(values)] == values).all()


def test_the_same_division_is_one_copy_for_each_piece() -> None:
    shards = divide([7, 5], 2)

    assert copies(shards[1], shards) == (Copy(1, 0, 0, 1), Copy(1, 1, 1, 5))


@pytest.mark.parametrize(
    ("stored", "missing"),
    [
        ([], "element 0 of p"),
        ([Piece(parameter="q", start=0, length=9, offset=0)], "element 0 of p"),
        ([Piece(parameter="p", start=0, length=4, offset=0)], "element 4 of p"),
        ([Piece(parameter="p", start=5, length=4, offset=0)], "element 0 of p"),
        (
            [Piece(parameter="p", start=0, length=3, offset=0), Piece(parameter="p", start=5, length=4, offset=3)],
            "element 3 of p",
        ),
    ],
)
def test_a_gap_is_named(stored: list[Piece], missing: str) -> None:
    with pytest.raises(NotCovered, match=missing):
        copies([Piece(parameter="p", start=0, length=9, offset=0)], [stored])


def test_what_several_ranks_of_a_pod_read_one_of_them_brings_in_turn() -> None:
    all_read_all = [("pod-0", [0, 1, 2]), ("pod-0", [0, 1, 2]), ("pod-1", [2, 2, 0])]
    assert shared_out(all_read_all, 0) == shared_out(all_read_all, 1) == {0: 0, 1: 1, 2: 0}
    assert shared_out(all_read_all, 2) == {0: 2, 2: 2}


def test_a_gang_of_the_same_shape_brings_what_each_rank_reads_itself() -> None:
    own = [(f"pod-{rank // 2}", [rank]) for rank in range(4)]
    assert [shared_out(own, rank) for rank in (0, 1)] == [{0: 0, 1: 1}] * 2
    assert [shared_out(own, rank) for rank in (2, 3)] == [{2: 2, 3: 3}] * 2
