"""Arrow streams and files."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pytest

from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import BadLine, RawRow
from raw_files import arrow, rows_of

BATCHES = [pa.record_batch({"text": ["a", "b"]}), pa.record_batch({"text": ["c"]})]
ROWS = [RawRow(1, {"text": "a"}), RawRow(2, {"text": "b"}), RawRow(3, {"text": "c"})]


@pytest.mark.parametrize("file", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_streams_and_files_are_read_packed_or_not(file: bool, packed: bool) -> None:
    content = arrow(BATCHES, file=file)
    assert rows_of(gzip.compress(content) if packed else content, "x.arrow.gz" if packed else "x.arrow") == ROWS


def test_columns_of_every_make_are_rows() -> None:
    batch = pa.record_batch(
        {
            "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
            "large": pa.array(["x", "y", None], pa.large_string()),
            "pairs": pa.array([[("k", "v")], [], None], pa.map_(pa.string(), pa.string())),
            "fixed": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int8(), 2)),
            "struct": pa.array([{"a": [1]}, None, {"a": None}]),
            "bytes": pa.array([b"\xff", None, b""]),
            "nothing": pa.nulls(3),
        }
    )
    whole = [
        {
            "dictionary": "a",
            "large": "x",
            "pairs": [("k", "v")],
            "fixed": [1, 2],
            "struct": {"a": [1]},
            "bytes": b"\xff",
            "nothing": None,
        },
        {**dict.fromkeys(batch.schema.names), "large": "y", "pairs": []},
        {**dict.fromkeys(batch.schema.names), "dictionary": "a", "fixed": [3, 4], "struct": {"a": None}, "bytes": b""},
    ]
    assert [row.fields for row in rows_of(arrow([batch]), "x.arrow") if isinstance(row, RawRow)] == whole
    sliced = rows_of(arrow([batch.slice(1)]), "x.arrow")
    assert [row.fields for row in sliced if isinstance(row, RawRow)] == whole[1:]


def test_rows_that_a_dictionary_makes_too_long_are_rejected_one_by_one() -> None:
    words = pa.array(["x" * (1 << 20), "y"])
    lists = pa.ListArray.from_arrays(
        pa.array([0, 1, 18, 19]), pa.DictionaryArray.from_arrays(pa.array([1, *[0] * 17, 1]), words)
    )
    assert rows_of(arrow([pa.record_batch({"a": lists})]), "x.arrow") == [
        RawRow(1, {"a": ["y"]}),
        BadLine(2, "longer than 16 MiB, or more than 100000 members"),
        RawRow(3, {"a": ["y"]}),
    ]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_packed_batches_are_read_and_one_that_is_a_bomb_is_refused_before_it_is_unpacked(compression: str) -> None:
    small = pa.record_batch({"text": ["a" * 1000] * 3, "word": pa.array(["b" * 500] * 3).dictionary_encode()})
    rows = rows_of(arrow([small], compression=compression), "x.arrow")
    assert [row.fields for row in rows if isinstance(row, RawRow)] == small.to_pylist()
    zeros = pa.array(np.zeros((256 << 20) // 8 + 1, np.int64))
    bomb = arrow([pa.record_batch({"a": zeros})], compression=compression)
    assert len(bomb) < 4 << 20
    with pytest.raises(StageFailed, match="a batch that unpacks to 256 MiB; write batches of at most 256 MiB"):
        rows_of(bomb, "x.arrow")


def test_offsets_that_lead_out_of_a_buffer_are_damage_and_no_crash() -> None:
    content = arrow([pa.record_batch({"text": ["a" * 10] * 4})])
    offsets = np.array([0, 10, 20, 30, 40], np.int32).tobytes()
    broken = content.replace(offsets, np.array([0, 10, 1 << 30, 30, 40], np.int32).tobytes())
    assert broken != content
    with pytest.raises(StageFailed, match=r"x\.arrow is damaged after row 0: "):
        rows_of(broken, "x.arrow")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "after row 0: "),
        (b"text", "after row 0: "),
        (arrow(BATCHES)[:-120], "after row [02]: "),
        (
            b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\0" * 100,
            "after row 0: a batch of 2047 MiB; write batches of at most",
        ),
        (arrow([pa.record_batch([["a"], ["b"]], names=["a", "a"])]), "after row 0: two of its columns have one name"),
        (
            arrow([pa.record_batch({"a": pa.RunEndEncodedArray.from_arrays(pa.array([3]), pa.array(["x"]))})]),
            "after row 0: a column of type run_end_encoded.* is not supported",
        ),
    ],
)
def test_damage_is_told(content: bytes, said: str) -> None:
    with pytest.raises(StageFailed, match=rf"x\.arrow is damaged {said}"):
        rows_of(content, "x.arrow")
