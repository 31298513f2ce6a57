"""Rows in the lines of JSON Lines objects."""

from __future__ import annotations

import json

import pytest

from finetune_trainer.prepare.read import MAX_ROW_BYTES, BadLine, RawRow
from finetune_trainer.prepare.read.rows import MAX_DEPTH, MAX_MEMBERS
from raw_files import rows_of


def test_rows_keep_their_line_numbers_and_blank_lines_are_no_rows() -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n  \t\n{"a": "\xe6\x97\xa5"}'
    assert rows_of(content, "x.jsonl") == [RawRow(1, {"a": 1}), RawRow(4, {"a": "日"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "not JSON at column 8: Expecting ',' delimiter"),
        (b'{"a": "cut off', "not JSON at column 7: Unterminated string starting"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 8"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"[" * 100_000, "more than 64 levels deep"),
        (b"[" * 64 + b"]" * 64, "not a JSON object"),
        (b"[" + b"{}," * 100_000 + b"{}]", "more than 100000 members"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON that can be read: Exceeds the limit"),
    ],
)
def test_a_bad_line_says_what_is_wrong_and_the_next_one_is_read(line: bytes, reason: str) -> None:
    bad, good = rows_of(line + b'\n{"a": 1}\n', "x.jsonl")
    assert isinstance(bad, BadLine)
    assert bad.line == 1
    assert bad.reason.startswith(reason)
    assert good == RawRow(2, {"a": 1})


def test_brackets_and_commas_in_texts_are_neither_levels_nor_members() -> None:
    row = {"a": '[{"\\' * (MAX_DEPTH + 1) + "," * (MAX_MEMBERS + 1), "b": [{}] * (MAX_DEPTH + 1)}
    assert rows_of(json.dumps(row).encode(), "x.jsonl") == [RawRow(1, row)]


def test_a_row_of_exactly_the_limit_is_read_and_one_byte_more_is_too_long() -> None:
    frame = len(json.dumps({"a": ""}))
    line = json.dumps({"a": "x" * (MAX_ROW_BYTES - frame)}).encode()
    assert len(line) == MAX_ROW_BYTES
    row, too_long, after = rows_of(line + b"\n" + line + b" \n{}", "x.jsonl")
    assert isinstance(row, RawRow)
    assert (too_long, after) == (BadLine(2, "longer than 16 MiB"), RawRow(3, {}))
