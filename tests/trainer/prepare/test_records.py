"""records/<split>.jsonl: what became of the rows, to be read by people and by other jobs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from corpora import conversation, pair, prepare_snapshot, write_rows
from finetune_api.result import Prepared
from finetune_api.snapshot import Snapshot
from finetune_trainer.prepare import prepare
from finetune_trainer.prepare.records import record_line
from finetune_trainer.prepared import SPLITS, Manifest, fetch
from finetune_trainer.storage import open_storage

CALL = {"id": "abc123def", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


def run(snapshot: Snapshot, scratch: Path) -> Prepared:
    scratch.mkdir(exist_ok=True)
    return prepare(snapshot, storage=open_storage(), scratch=scratch, report=lambda progress: None, cpuinfo="")


def folder_of(prepared: Prepared) -> Path:
    return Path(prepared.data_uri.removeprefix("file://"))


def records(prepared: Prepared) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            json.loads(line)
            for line in (folder_of(prepared) / "records" / f"{name}.jsonl").read_text().split("\n")[:-1]
        ]
        for name in SPLITS
    }


def without_place(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("source", "line")}


def test_every_kept_row_is_there_once_cleaned_and_with_its_place(tmp_path: Path) -> None:
    rows = [*map(pair, range(40)), {"prompt": "Say\r\nhi", "completion": "Hi\u200b there"}, pair(3), b"{cut"]
    prepared = run(prepare_snapshot(tmp_path, rows), tmp_path / "scratch")
    found = records(prepared)

    assert {name: len(rows) for name, rows in found.items()} == prepared.data.splits.to_json()
    everything = [row for name in SPLITS for row in found[name]]
    assert {row["source"] for row in everything} == {f"file://{tmp_path}/raw/rows.jsonl"}
    assert sorted(row["line"] for row in everything) == list(range(1, 42))
    by_line = {row["line"]: without_place(row) for row in everything}
    turns = [{"role": "user", "content": "Say\nhi"}, {"role": "assistant", "content": "Hi there"}]
    assert by_line[41] == {"messages": turns}
    for name in SPLITS:
        assert [row["line"] for row in found[name]] == sorted(row["line"] for row in found[name])


@pytest.mark.parametrize(
    "task",
    [
        {"type": "Instruction"},
        {"type": "Instruction", "instruction": {"messagesField": "chat"}},
    ],
)
def test_records_as_sources_give_the_same_rows(tmp_path: Path, task: dict[str, Any]) -> None:
    name = task.get("instruction", {}).get("messagesField", "messages")
    rows = [
        {
            name: conversation(f"What is {number}?", f"A number\x00, {number}.", system="Be brief.")["messages"],
            "user": number % 9,
        }
        for number in range(60)
    ]
    turns = [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "2", "tool_call_id": "abc123def"},
        {"role": "assistant", "content": "Two."},
    ]
    rows.append({name: turns, "tools": TOOLS, "user": 100})
    data = {"sources": [{"uri": f"file://{tmp_path}/raw/*.jsonl"}], "split": {"groupBy": "user"}}
    first = records(run(prepare_snapshot(tmp_path, rows, task=task, data=data), tmp_path / "scratch"))

    again = tmp_path / "again"
    for split in SPLITS:
        write_rows(again / "raw" / f"{split}.jsonl", first[split])
    data = {
        "sources": [
            {"uri": f"file://{again}/raw/train.jsonl"},
            {"uri": f"file://{again}/raw/validation.jsonl", "split": "Validation"},
            {"uri": f"file://{again}/raw/test.jsonl", "split": "Test"},
        ],
        "split": {"groupBy": "user"},
    }
    second = run(prepare_snapshot(again, task=task, data=data), tmp_path / "scratch")

    assert second.data.rows_cleaned == 0
    assert {split: [without_place(row) for row in rows] for split, rows in records(second).items()} == {
        split: [without_place(row) for row in rows] for split, rows in first.items()
    }


def test_the_manifest_names_the_checksum_of_each_file_and_training_fetches_tokens_alone(tmp_path: Path) -> None:
    prepared = run(prepare_snapshot(tmp_path), tmp_path / "scratch")
    folder = folder_of(prepared)
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    listed = {file.path: file.sha256 for file in manifest.files}

    assert listed == {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.*")
        if path.name != "manifest.json"
    }
    assert {
        "records/train.jsonl",
        "records/test.jsonl",
        "rejected.jsonl",
        "report.json",
        "report.html",
    } <= listed.keys()
    fetch(open_storage(), prepared.data_uri, prepared.data_digest, tmp_path / "fetched")
    fetched = {path.relative_to(tmp_path / "fetched").parts[0] for path in (tmp_path / "fetched").rglob("*.*")}
    assert fetched == {*SPLITS, "manifest.json"}


def test_the_place_of_a_row_that_has_fields_of_its_name_is_kept_beside_them() -> None:
    row = {"source": "a book", "raw_source": "a library", "prompt": "q"}
    assert json.loads(record_line("s3://raw/a.jsonl", 7, row)) == row | {
        "raw_raw_source": "s3://raw/a.jsonl",
        "line": 7,
    }
    assert json.loads(record_line("s3://raw/a.jsonl", 7, {"line": "x"})) == {
        "source": "s3://raw/a.jsonl",
        "raw_line": 7,
        "line": "x",
    }
