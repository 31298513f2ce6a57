"""Objects named by sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from corpora import pair, write_rows
from finetune_api.contract import ExitCode
from finetune_api.spec import Source, SourceSplit, TextDocument
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare.read.find import Compression, Format, find_objects, format_of, glob_pattern
from finetune_trainer.storage import open_storage


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
    assert [(raw.uri.removeprefix(f"file://{tmp_path}/"), raw.field) for raw in found] == [
        ("a.jsonl.gz", "spec.data.sources[1].uri"),
        ("b.jsonl", "spec.data.sources[1].uri"),
        ("deep/c.jsonl", "spec.data.sources[0].uri"),
    ]


def test_the_first_source_that_names_a_file_says_how_it_is_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.txt", [b"a"])
    uri = f"file://{tmp_path}/a.txt"
    sources = [Source(uri=uri, text_document=TextDocument.PARAGRAPH), Source(uri=uri)]
    (raw,) = find_objects(open_storage(), sources)
    assert raw.text_document is TextDocument.PARAGRAPH


@pytest.mark.parametrize("order", [1, -1])
def test_a_source_with_a_split_wins_over_one_that_names_the_same_file_without(tmp_path: Path, order: int) -> None:
    for name in ("a.jsonl", "test.jsonl"):
        write_rows(tmp_path / name, [pair(1)])
    every = Source(uri=f"file://{tmp_path}/*.jsonl")
    test = Source(uri=f"file://{tmp_path}/test.jsonl", split=SourceSplit.TEST)
    found = find_objects(open_storage(), [every, test, every, test][::order])
    assert [raw.split for raw in found] == [None, SourceSplit.TEST]


def test_a_file_for_two_splits_is_a_mistake_in_the_second_source(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [pair(1)])
    uri = f"file://{tmp_path}/a.jsonl"
    sources = [Source(uri=uri), *(Source(uri=uri, split=split) for split in SourceSplit)]
    with pytest.raises(StageFailed, match=r"a\.jsonl is for Validation by spec\.data\.sources\[1\]") as failed:
        find_objects(open_storage(), sources)
    assert failed.value.exit_code is ExitCode.BAD_CONFIG
    assert failed.value.failure.field == "spec.data.sources[2].split"


def test_a_file_whose_name_is_no_utf_8_is_named(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jsonl")).write_bytes(b"{}")
    with pytest.raises(StageFailed, match=r"caf\\xe9\.jsonl is not UTF-8") as failed:
        find_objects(open_storage(), [Source(uri=f"file://{tmp_path}/*.jsonl")])
    assert failed.value.exit_code is ExitCode.MISMATCH
    assert failed.value.failure.field == "spec.data.sources[0].uri"
    failed.value.failure.message.encode()


@pytest.mark.parametrize("pattern", ["none/*.jsonl", "none.jsonl", "folder"])
def test_a_source_that_matches_nothing_is_named(tmp_path: Path, pattern: str) -> None:
    write_rows(tmp_path / "folder" / "a.jsonl", [pair(1)])
    sources = [Source(uri=f"file://{tmp_path}/folder/a.jsonl"), Source(uri=f"file://{tmp_path}/{pattern}")]
    for within in ("spec.data.sources", "spec.data.decontamination.benchmarks"):
        with pytest.raises(StageFailed, match=pattern.replace("*", r"\*")) as failed:
            find_objects(open_storage(), sources, within=within)
        assert failed.value.exit_code is ExitCode.MISMATCH
        assert failed.value.failure.field == f"{within}[1].uri"


@pytest.mark.parametrize("name", ["a.xlsx", "a.jsonl.bz2", "gz", "a.gz", "README", "jsonl"])
def test_an_object_of_an_unknown_format_is_named_before_it_is_read(tmp_path: Path, name: str) -> None:
    write_rows(tmp_path / name, [b"a,b"])
    with pytest.raises(StageFailed, match=rf"{name} is none of \.jsonl, .*nor one of them with \.gz") as failed:
        find_objects(open_storage(), [Source(uri=f"file://{tmp_path}/*")])
    assert failed.value.exit_code is ExitCode.BAD_CONFIG
    assert failed.value.failure.field == "spec.data.sources[0].uri"


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jsonl", (Format.JSON_LINES, None)),
        ("a.v2.ndjson.zst", (Format.JSON_LINES, Compression.ZSTD)),
        ("a.json", (Format.JSON, None)),
        ("Export.CSV", (Format.COMMA_SEPARATED, None)),
        ("a.tsv.gz", (Format.TAB_SEPARATED, Compression.GZIP)),
        ("a.txt", (Format.TEXT, None)),
        ("part-0.snappy.parquet", (Format.PARQUET, None)),
        ("a.arrow", (Format.ARROW, None)),
        ("csv.d/a", None),
    ],
)
def test_the_end_of_a_name_says_the_format(name: str, form: tuple[Format, Compression | None] | None) -> None:
    assert format_of(f"s3://raw/{name}") == form
