"""Lines out of blocks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.prepare.read.lines import lines_of
from finetune_trainer.prepare.read.rows import MAX_ROW_BYTES


@given(st.lists(st.binary(max_size=6).map(lambda block: block.replace(b"\x01", b"\n")), max_size=8))
def test_where_blocks_end_changes_nothing(blocks: list[bytes]) -> None:
    whole = b"".join(blocks)
    expected = whole.split(b"\n")
    assert list(lines_of(blocks)) == (expected if expected[-1] else expected[:-1])


def test_a_line_of_any_length_is_passed_over() -> None:
    block = b"x" * (1 << 20)
    blocks = [*[block] * (3 * MAX_ROW_BYTES >> 20), b"x\nnext\n", *[block] * (2 * MAX_ROW_BYTES >> 20)]
    assert list(lines_of(blocks)) == [None, b"next", None]
