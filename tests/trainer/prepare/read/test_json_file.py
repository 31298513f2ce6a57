"""JSON files: an array, objects one after the other, or JSON Lines."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import MAX_ROW_BYTES, BadLine, Notes, RawRow
from finetune_trainer.prepare.read.encoding import Encoding
from finetune_trainer.prepare.read.json_file import rows_of_json_file
from raw_files import rows_of

VALUES = st.recursive(st.none() | st.integers() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=3))
ROWS = st.lists(st.dictionaries(st.text(max_size=3), VALUES, max_size=3), max_size=6)


@given(ROWS, st.sampled_from([None, 0, 2]), st.integers(1, 9), st.booleans())
def test_where_blocks_end_changes_nothing(
    rows: list[dict[str, Any]], indent: int | None, size: int, array: bool
) -> None:
    rows = rows if array else [row for row in rows if row]  # `{}` is a line of JSON Lines
    text = (
        json.dumps(rows, indent=indent, ensure_ascii=False)
        if array
        else " \n".join(json.dumps(row, indent=indent or 0, ensure_ascii=False) for row in rows)
    ).encode("utf-8", "surrogatepass")
    blocks = (text[start : start + size] for start in range(0, len(text), size))
    found = rows_of_json_file(blocks, Notes(encoding=Encoding.UTF_8))
    assert [row.fields for row in found if isinstance(row, RawRow)] == rows


def test_rows_of_an_array_are_numbered_and_what_is_no_object_is_rejected() -> None:
    content = b' [{"a": 1}, 7,\n\n{"a": "\xff"}, {"a": [["]"]]}, {"a": ' + b"[" * 70 + b"]" * 70 + b"}]\n"
    assert rows_of(content, "x.json") == [
        RawRow(1, {"a": 1}),
        BadLine(2, "not a JSON object"),
        BadLine(3, "not UTF-8"),
        RawRow(4, {"a": [["]"]]}),
        BadLine(5, "more than 64 levels deep"),
    ]


def test_json_lines_under_this_name_keep_their_lines() -> None:
    assert rows_of(b'\n{"a": 1}\n\n{"a": \n{"a": 2}', "x.json") == [
        RawRow(2, {"a": 1}),
        BadLine(4, "not JSON at column 6: Expecting value"),
        RawRow(5, {"a": 2}),
    ]


def test_a_row_that_is_too_long_is_rejected() -> None:
    content = b'[{"a": "' + b"x" * MAX_ROW_BYTES + b'"}, {"a": 1}]'
    assert rows_of(content, "x.json") == [BadLine(1, "longer than 16 MiB"), RawRow(2, {"a": 1})]


@pytest.mark.parametrize("content", [b"", b" \n", b"[]", b"[ ]\n"])
def test_nothing_is_no_row(content: bytes) -> None:
    assert rows_of(content, "x.json") == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"a": 1},\n {"a": 2}\n {"a": 3}]', "at line 3: .* in line 3 at column 2: a ',' or the end of the array"),
        (b'[{"a": 1},\n {"a": 2}', "at line 2: .*: the array does not end"),
        (b'[{"a": 1},\n {"a": "cut', "at line 2: .* in line 2 at column 8: Unterminated string"),
        (b'[{"a": 1},]', "at line 1: .* at column 11: Expecting value"),
        (b'[{"a": 1}]\n[]', "at line 2: .* in line 2 at column 1: something stands behind the array"),
        (b'{"a":\n 1}\n{"a" 2}', "at line 3: .* in line 3 at column 6: Expecting ':' delimiter"),
        (b"hello", "at line 1: .*: Expecting value"),
        (b'[{"a": ' + b"[" * 100_000, "at line 1: .*: maximum recursion depth exceeded"),
        (b'[{"a": "' + b"x" * 3 * MAX_ROW_BYTES + b'"}]', "at line 1: .*, or longer than 16 MiB"),
    ],
)
def test_where_an_array_breaks_the_rest_is_lost_and_the_file_is_damaged(content: bytes, said: str) -> None:
    with pytest.raises(StageFailed, match=rf"x\.json is damaged {said}"):
        rows_of(content, "x.json")
