"""What all formats have in common: places, damage, and files that have to be put down first."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from finetune_api.contract import ExitCode
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read import RawRow, place
from finetune_trainer.storage import StoreUnavailable
from raw_files import parquet, rows_of


def test_a_damaged_file_is_named_with_the_last_row_that_could_be_read() -> None:
    compressed = gzip.compress((b'{"a": "' + b"x" * 200 + b'"}\n') * 30_000)
    name = "s3://raw/x.jsonl.gz"
    with pytest.raises(StageFailed, match=r"x\.jsonl\.gz is damaged after row \d\d+: ") as failed:
        rows_of(compressed[: len(compressed) // 2], name)
    assert failed.value.exit_code is ExitCode.MISMATCH
    assert failed.value.failure.reason == "DataCorrupt"
    assert failed.value.failure.field == "spec.data.sources[0].uri"
    (found,) = failed.value.failure.places
    assert int(found.removeprefix(f"{name}:")) > 10


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.parquet", "x.parquet.gz", "x.arrow"])
def test_a_store_that_fails_is_no_damage_of_the_file(name: str, tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise StoreUnavailable(name)

    with pytest.raises(StoreUnavailable):
        rows_of(Failing(b"PAR1" * 8), name, scratch=tmp_path)


def test_parquet_that_can_only_be_streamed_is_put_down_and_taken_away(tmp_path: Path) -> None:
    class Streamed(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise io.UnsupportedOperation("seek")

    content = parquet({"text": ["a", "b"]})
    rows = [RawRow(1, {"text": "a"}), RawRow(2, {"text": "b"})]
    assert rows_of(Streamed(content), "x.parquet", scratch=tmp_path) == rows
    assert rows_of(gzip.compress(content), "x.parquet.gz", scratch=tmp_path) == rows
    assert list(tmp_path.iterdir()) == []


def test_a_place_fits_a_result_whatever_the_uri() -> None:
    assert place("s3://raw/x.jsonl", 12) == "s3://raw/x.jsonl:12"
    assert len(place("s3://raw/" + "x" * 1000 + "/tail.jsonl", 10**12)) <= 256
    assert place("s3://raw/" + "x" * 1000 + "/tail.jsonl", 7).endswith("/tail.jsonl:7")
