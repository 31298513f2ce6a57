"""Streams whose next parts are on their way while the last one is worked on."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.storage import PreconditionFailed
from finetune_trainer.storage.ahead import PARTS_AHEAD, read_ahead

CONTENT = bytes(range(256)) * 4


def fetch(start: int, stop: int) -> bytes:
    return CONTENT[start:stop]


@given(st.integers(0, 40), st.integers(1, 50), st.lists(st.integers(0, 30), max_size=6))
def test_however_it_is_cut_the_content_is_the_same(size: int, part_bytes: int, reads: list[int]) -> None:
    with read_ahead(size, fetch, part_bytes=part_bytes) as stream:
        assert b"".join([*map(stream.read, reads), stream.read()]) == CONTENT[:size]
        assert stream.read(1) == b""


def test_the_next_parts_are_fetched_before_they_are_asked_for_and_no_more_of_them() -> None:
    asked: list[int] = []
    enough, too_many = threading.Event(), threading.Event()

    def record(start: int, stop: int) -> bytes:
        asked.append(start // 10)
        if len(asked) == 1 + PARTS_AHEAD + 1:  # one is read, and one waits for a place in the queue
            enough.set()
        elif len(asked) > 1 + PARTS_AHEAD + 1:
            too_many.set()
        return fetch(start, stop)

    with read_ahead(1000, record, part_bytes=10) as stream:
        assert asked == []
        assert stream.read(1) == CONTENT[:1]
        assert enough.wait(10)
        assert not too_many.wait(0.1)
        assert stream.read(1500) == CONTENT[1:1000]
        assert asked == list(range(100))


def test_what_a_part_ended_with_is_raised_where_it_is_needed_and_again() -> None:
    def break_off(start: int, stop: int) -> bytes:
        if start >= 20:
            raise PreconditionFailed("replaced")
        return fetch(start, stop)

    with read_ahead(100, break_off, part_bytes=10) as stream:
        assert stream.read(20) == CONTENT[:20]
        for _ in range(2):
            with pytest.raises(PreconditionFailed, match="replaced"):
                stream.read(1)


def test_a_stream_that_is_closed_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with read_ahead(1000, fetch, part_bytes=10) as stream:
        stream.read(1)
        (thread,) = [each for each in threading.enumerate() if each.name == "read-ahead"]
    thread.join(10)
    assert threading.active_count() == before


def test_an_object_of_one_part_takes_no_thread() -> None:
    with read_ahead(10, fetch, part_bytes=10) as stream:
        assert stream.read() == CONTENT[:10]
        assert [each for each in threading.enumerate() if each.name == "read-ahead"] == []
