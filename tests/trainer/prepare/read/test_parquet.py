"""Parquet files, and what a few bytes of one may stand for."""

from __future__ import annotations

import datetime
import decimal
import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import MAX_ROW_BYTES, BadLine, RawRow
from raw_files import arrow, parquet, rows_of

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def test_rows_are_numbered_over_row_groups_and_hold_what_json_could() -> None:
    table = pa.table(
        {
            "messages": pa.array([[{"role": "user", "content": "q"}], None, []], MESSAGES),
            "label": ["a", None, "c"],
            "score": [1.5, 2.0, None],
            "day": [datetime.date(2026, 1, 2), None, None],
            "price": [decimal.Decimal("1.50"), None, None],
        }
    )
    rows = rows_of(parquet(table, row_group_size=2), "x.parquet")
    assert [row.line for row in rows] == [1, 2, 3]
    assert rows[0] == RawRow(
        1,
        {
            "messages": [{"role": "user", "content": "q"}],
            "label": "a",
            "score": 1.5,
            "day": "2026-01-02",
            "price": "1.50",
        },
    )
    assert rows[1] == RawRow(2, {"messages": None, "label": None, "score": 2.0, "day": None, "price": None})
    assert rows[2] == RawRow(3, {"messages": [], "label": "c", "score": None, "day": None, "price": None})


@pytest.mark.parametrize("codec", ["NONE", "SNAPPY", "GZIP", "ZSTD", "BROTLI", "LZ4"])
def test_every_codec_of_parquet_is_read(codec: str) -> None:
    assert rows_of(parquet({"text": ["a"]}, compression=codec), "x.parquet") == [RawRow(1, {"text": "a"})]


def test_a_row_that_is_too_long_or_no_text_is_rejected_alone() -> None:
    long = "x" * (MAX_ROW_BYTES + 1)
    broken = pa.array([b"a", b"\xff", b"c", b"d"]).view(pa.string())
    table = pa.table({"text": broken, "more": ["", "", long, ""]})
    assert rows_of(parquet(table), "x.parquet") == [
        RawRow(1, {"text": "a", "more": ""}),
        BadLine(2, "not UTF-8"),
        BadLine(3, "longer than 16 MiB, or more than 100000 members"),
        RawRow(4, {"text": "d", "more": ""}),
    ]


def test_a_row_of_many_members_is_rejected() -> None:
    rows = rows_of(parquet({"a": pa.array([[1], [0] * 101_000, None], pa.list_(pa.int64()))}), "x.parquet")
    assert [type(row) for row in rows] == [RawRow, BadLine, RawRow]


def test_a_page_that_unpacks_to_hundreds_of_its_size_is_refused_by_the_footer() -> None:
    bomb = parquet(
        {"text": [("x" * 999) + str(number % 10) for number in range(70_000)]}, use_dictionary=False, compression="ZSTD"
    )
    with pytest.raises(StageFailed, match=r"damaged after row 0: \d+ bytes of row group 1 become 6. MiB"):
        rows_of(bomb, "x.parquet")


def test_a_column_of_more_values_than_memory_is_refused_by_the_footer() -> None:
    values = pa.nulls((1 << 24) + 1, pa.int8())
    with pytest.raises(StageFailed, match="row group 1 has more than 16777216 values in a column"):
        rows_of(parquet(pa.table({"a": values}), row_group_size=1 << 25), "x.parquet")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "file size is 0 bytes"),
        (b"PAR1", "smaller than the minimum"),
        (b"text,label\na,b\n" * 10, "magic bytes not found"),
        (parquet({"text": ["a"] * 1000})[:-200], "magic bytes not found"),
        (b"PAR1" + b"\0" * 100 + b"\xff\xff\xff\x7fPAR1", ""),
        (parquet(pa.table([["a"], ["b"]], names=["text", "text"])), "two of its columns have one name"),
    ],
)
def test_damage_is_told(content: bytes, said: str) -> None:
    with pytest.raises(StageFailed, match=rf"x\.parquet is damaged after row 0: .*{said}"):
        rows_of(content, "x.parquet")


def test_a_damaged_page_is_told_with_the_last_row() -> None:
    content = bytearray(parquet({"text": [f"{number} text" for number in range(5000)]}, row_group_size=1000))
    middle = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(3).column(0).data_page_offset
    content[middle : middle + 64] = b"\xff" * 64
    with pytest.raises(StageFailed, match=r"x\.parquet is damaged after row 3000: "):
        rows_of(bytes(content), "x.parquet")


def test_dates_are_text_however_deep_and_far_away_they_lie() -> None:
    nanosecond, far = pa.timestamp("ns"), pa.timestamp("us")
    rows = [{"at": 1}, {"at": None}]
    table = pa.table(
        {
            "text": ["a", "b"],
            "struct": pa.array(rows, pa.struct([("at", nanosecond)])),
            "list": pa.array([[2**62], []], pa.list_(far)),
            "large": pa.array([[{"at": 1}], None], pa.large_list(pa.struct([("at", nanosecond)]))),
            "fixed": pa.array([[1, 2], None], pa.list_(nanosecond, 2)),
            "map": pa.array([[("k", 1)], []], pa.map_(pa.string(), nanosecond)),
            "price": pa.array([[decimal.Decimal("1.50")], None], pa.list_(pa.decimal128(5, 2))),
        }
    )
    first = "1970-01-01 00:00:00.000000001"
    assert rows_of(arrow(table.to_batches()), "x.arrow") == [
        RawRow(
            1,
            {
                "text": "a",
                "struct": {"at": first},
                "list": [f"<value out of range: {2**62}>"],
                "large": [{"at": first}],
                "fixed": [first, "1970-01-01 00:00:00.000000002"],
                "map": [("k", first)],
                "price": ["1.50"],
            },
        ),
        RawRow(
            2, {"text": "b", "struct": {"at": None}, "list": [], "large": None, "fixed": None, "map": [], "price": None}
        ),
    ]


def test_a_value_that_cannot_be_shown_is_a_bad_row_at_its_place() -> None:
    table = pa.table({"text": ["a", "b"], "at": pa.array([None, 1], pa.timestamp("ns", tz="No/Where"))})
    good, bad = rows_of(arrow(table.to_batches()), "x.arrow")
    assert (good.line, bad.line) == (1, 2)
    assert isinstance(bad, BadLine)
    assert "No/Where" in bad.reason
