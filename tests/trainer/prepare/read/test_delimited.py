"""CSV and TSV."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import MAX_ROW_BYTES, BadLine, RawRow
from raw_files import rows_of

FIELDS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=6)


@given(
    st.lists(st.tuples(FIELDS, FIELDS), max_size=5), st.sampled_from(["csv", "tsv"]), st.sampled_from(["\n", "\r\n"])
)
def test_what_the_csv_module_writes_is_read(rows: list[tuple[str, str]], ending: str, line_end: str) -> None:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter="," if ending == "csv" else "\t", lineterminator=line_end)
    writer.writerows([("a", "b"), *rows])
    # A letter of its own, so that the encoding of little text is sure.
    content = (sink.getvalue() + f"é{',' if ending == 'csv' else chr(9)}日").encode()
    found = rows_of(content, f"x.{ending}")
    assert [tuple(row.fields.values()) for row in found if isinstance(row, RawRow)] == [*rows, ("é", "日")]


def test_rows_are_numbered_by_their_first_lines_and_fields_may_hold_line_feeds() -> None:
    content = b'text,label\r\n"one\r\n\r\ntwo, ""three""",x\r\n\r\nfour,\r\n'
    assert rows_of(content, "x.csv") == [
        RawRow(2, {"text": 'one\r\n\r\ntwo, "three"', "label": "x"}),
        RawRow(6, {"text": "four", "label": ""}),
    ]


@pytest.mark.parametrize(
    ("content", "row"),
    [
        (b"a;b\n1;2,5\n", {"a": "1", "b": "2,5"}),
        (b"a\tb\n1\t2\n", {"a": "1", "b": "2"}),
        (b"a,b;c\n1,2\n", {"a": "1", "b;c": "2"}),
        (b"text\n1;2\n", {"text": "1;2"}),
        (b"\n\na,b\n1,2\n", {"a": "1", "b": "2"}),
        (b"\xef\xbb\xbfa,b\n1,2\n", {"a": "1", "b": "2"}),
    ],
)
def test_the_header_says_what_stands_between_columns(content: bytes, row: dict[str, str]) -> None:
    (found,) = rows_of(content, "x.csv")
    assert isinstance(found, RawRow)
    assert found.fields == row


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        (b"1", [BadLine(3, "1 columns where the header has 2")]),
        (b"1,2,3", [BadLine(3, "3 columns where the header has 2")]),
        (b'"1"x,2', [BadLine(3, "',' expected after '\"'")]),
        (b'"1\n2\n3"x,4', [BadLine(line, "',' expected after '\"'") for line in (3, 4, 5)]),
        (b"\xff,2", [BadLine(3, "not UTF-8")]),
        (b"x" * (MAX_ROW_BYTES + 1), [BadLine(3, "longer than 16 MiB")]),
        (b"," * 100_000, [BadLine(3, "more than 100000 columns")]),
        (
            (b'"\n"' + b"," * 1100) * 99 + b'"',
            [
                *(BadLine(line, "more than 100000 columns") for line in range(3, 95)),
                *(BadLine(line, "1 columns where the header has 2") for line in range(95, 103)),
            ],
        ),
    ],
)
def test_a_bad_row_costs_its_lines_only(line: bytes, bad: list[BadLine]) -> None:
    content = "a,b\né,日\n".encode() + line + b"\n5,6\n"
    first, *found, last = rows_of(content, "x.csv")
    assert (first, found) == (RawRow(2, {"a": "é", "b": "日"}), bad)
    assert isinstance(last, RawRow)
    assert last.fields == {"a": "5", "b": "6"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'a,b\n1,2\n3,"4\n5,6\n', "at line 3: a quote that opens in this row is never closed"),
        (
            b'a,b\n1,"' + (b"x" * 1023 + b"\n") * (MAX_ROW_BYTES // 1024 + 1),
            "at line 2: a quote that .* is not closed within 16 MiB",
        ),
        (b"a,b,a\n1,2,3\n", "at line 1: the header names column 1 twice"),
        (b'"a"b,c\n1,2\n', "at line 1: the header is no row"),
        (b"a," * 100_001 + b"\n", "at line 1: the header is no row: more than 100000 columns"),
        (b"a" * (MAX_ROW_BYTES + 1), "at line 1: the header is longer than 16 MiB"),
    ],
)
def test_a_table_that_cannot_be_told_apart_is_damaged(content: bytes, said: str) -> None:
    with pytest.raises(StageFailed, match=rf"x\.csv is damaged {said}"):
        rows_of(content, "x.csv")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"a,b\n"])
def test_a_header_alone_is_no_row(content: bytes) -> None:
    assert rows_of(content, "x.csv") == []
