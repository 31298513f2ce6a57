"""Objects named by sources, and the rows in their lines."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import pytest

from corpora import pair, write_rows
from finetune_api.contract import ExitCode
from finetune_api.spec import Source
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import MAX_ROW_BYTES, BadLine, RawRow, find_objects, glob_pattern, place, read_rows
from finetune_trainer.storage import open_storage


def rows_of(content: bytes, name: str = "rows.jsonl") -> list[RawRow | BadLine]:
    return list(read_rows(io.BytesIO(content), name))


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (
            "s3://raw/a/*.jsonl",
            ["s3://raw/a/x.jsonl", "s3://raw/a/.jsonl"],
            ["s3://raw/a/b/x.jsonl", "s3://raw/a/xjsonl"],
        ),
        ("s3://raw/**/x.jsonl", ["s3://raw/x.jsonl", "s3://raw/a/b/x.jsonl"], ["s3://raw/ax.jsonl"]),
        ("s3://raw/a**", ["s3://raw/a", "s3://raw/a/b/c", "s3://raw/ab"], ["s3://raw/b"]),
        ("s3://raw/[a]?.jsonl*", ["s3://raw/[a]?.jsonl.gz"], ["s3://raw/ab.jsonl"]),
    ],
)
def test_a_star_matches_within_a_name_and_two_within_a_path(
    pattern: str, matching: list[str], other: list[str]
) -> None:
    compiled = glob_pattern(pattern)
    assert [uri for uri in matching + other if compiled.fullmatch(uri)] == matching


def test_objects_are_found_once_and_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "deep/c.jsonl"):
        write_rows(tmp_path / name, [pair(1)])
    sources = [Source(uri=f"file://{tmp_path}/{pattern}") for pattern in ("deep/c.jsonl", "*.jsonl*", "**/*.jsonl")]
    found = find_objects(open_storage(), sources)
    assert [stored.uri.removeprefix(f"file://{tmp_path}/") for stored in found] == [
        "a.jsonl.gz",
        "b.jsonl",
        "deep/c.jsonl",
    ]


@pytest.mark.parametrize("pattern", ["none/*.jsonl", "none.jsonl", "folder"])
def test_a_source_that_matches_nothing_is_named(tmp_path: Path, pattern: str) -> None:
    write_rows(tmp_path / "folder" / "a.jsonl", [pair(1)])
    sources = [Source(uri=f"file://{tmp_path}/folder/a.jsonl"), Source(uri=f"file://{tmp_path}/{pattern}")]
    with pytest.raises(StageFailed, match=pattern.replace("*", r"\*")) as failed:
        find_objects(open_storage(), sources)
    assert failed.value.exit_code is ExitCode.MISMATCH
    assert failed.value.failure.field == "spec.data.sources[1].uri"


def test_an_object_of_an_unknown_format_is_named_before_it_is_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [b"a,b"])
    with pytest.raises(StageFailed, match=r"a\.csv is none of \.jsonl") as failed:
        find_objects(open_storage(), [Source(uri=f"file://{tmp_path}/*")])
    assert failed.value.exit_code is ExitCode.BAD_CONFIG
    assert failed.value.failure.field == "spec.data.sources[0].uri"


def test_rows_keep_their_line_numbers_and_blank_lines_are_no_rows() -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\n  \t\n{"a": "\xe6\x97\xa5"}'
    assert rows_of(content) == [RawRow(1, {"a": 1}), RawRow(4, {"a": "日"})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "not JSON at column 8: Expecting ',' delimiter"),
        (b'{"a": "cut off', "not JSON at column 7: Unterminated string starting"),
        (b'{"a": "\xff"}', "not UTF-8 at byte 8"),
        (b"[1, 2]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"[" * 100_000, "not JSON that can be read: maximum recursion depth exceeded"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON that can be read: Exceeds the limit"),
    ],
)
def test_a_bad_line_says_what_is_wrong_and_the_next_one_is_read(line: bytes, reason: str) -> None:
    bad, good = rows_of(line + b'\n{"a": 1}\n')
    assert isinstance(bad, BadLine)
    assert bad.line == 1
    assert bad.reason.startswith(reason)
    assert good == RawRow(2, {"a": 1})


def test_a_line_of_any_length_is_passed_over_in_bounded_pieces() -> None:
    class Endless(io.RawIOBase):
        """Three rows' worth of one line, then another line; no call may ask for more than a row."""

        def __init__(self) -> None:
            self.left = 3 * MAX_ROW_BYTES + 7
            self.tail = io.BytesIO(b'\n{"a": 1}\n')

        def readline(self, size: int | None = -1) -> bytes:
            assert size is not None and 0 < size <= MAX_ROW_BYTES
            if self.left:
                piece = min(size, self.left)
                self.left -= piece
                return b"x" * piece
            return self.tail.readline(size)

    rows = list(read_rows(Endless(), "rows.jsonl"))  # type: ignore[arg-type]
    assert rows == [BadLine(1, "longer than 16 MiB"), RawRow(2, {"a": 1})]


def test_a_row_of_exactly_the_limit_is_read() -> None:
    frame = len(json.dumps({"a": ""}))
    line = json.dumps({"a": "x" * (MAX_ROW_BYTES - frame - 1)}).encode() + b"\n"
    assert len(line) == MAX_ROW_BYTES
    assert [type(row) for row in rows_of(line + b"{}")] == [RawRow, RawRow]


def test_compressed_rows_are_read_and_a_damaged_file_is_named_with_the_line() -> None:
    compressed = gzip.compress(b'{"a": 1}\n' * 50_000)
    assert len(rows_of(compressed, "s3://raw/x.jsonl.gz")) == 50_000
    with pytest.raises(StageFailed, match=r"x\.jsonl\.gz is damaged after line \d+") as failed:
        rows_of(compressed[: len(compressed) // 2], "s3://raw/x.jsonl.gz")
    assert failed.value.exit_code is ExitCode.MISMATCH
    assert failed.value.failure.field == "spec.data.sources"
    assert failed.value.failure.places[0].startswith("s3://raw/x.jsonl.gz:")
    with pytest.raises(StageFailed, match="damaged after line 0"):
        rows_of(b"plain text", "x.jsonl.gz")


def test_a_place_fits_a_result_whatever_the_uri() -> None:
    assert place("s3://raw/x.jsonl", 12) == "s3://raw/x.jsonl:12"
    assert len(place("s3://raw/" + "x" * 1000 + "/tail.jsonl", 10**12)) <= 256
    assert place("s3://raw/" + "x" * 1000 + "/tail.jsonl", 7).endswith("/tail.jsonl:7")
