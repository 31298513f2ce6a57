"""The same rows in every format, shape and encoding, through the whole of preparation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from corpora import prepare_snapshot
from finetune_api.result import Prepared
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage
from raw_files import in_every_format, parquet
from tiny_models import tiny_model

PAIRS = [(f"Où est le n° {number} ?\nDis-le.", f"Là-bas, à {number} m.") for number in range(60)]
ROWS = [{"prompt": prompt, "completion": completion} for prompt, completion in PAIRS]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
COLUMNS = {name: [row[name] for row in ROWS] for name in ("prompt", "completion")}


def lines(shape: Any) -> bytes:
    return "".join(json.dumps(shape(*pair), ensure_ascii=False) + "\n" for pair in PAIRS).encode()


FILES: dict[str, bytes] = {
    **in_every_format(COLUMNS),
    "messages.parquet": parquet(
        {"messages": [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in PAIRS]}
    ),
    "alpaca.jsonl": lines(lambda q, a: {"instruction": q, "input": "", "output": a}),
    "sharegpt.jsonl": lines(
        lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
    ),
    "openai.jsonl": lines(
        lambda q, a: {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}], "tools": []}
    ),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(folder)
    return folder


def prepared(home: Path, model: Path, name: str, content: bytes, **spec: Any) -> Prepared:
    for folder in ("raw", "scratch"):
        (home / folder).mkdir(parents=True)
    (home / "model").symlink_to(model)
    (home / "raw" / name).write_bytes(content)
    source = {"uri": f"file://{home}/raw/*", **spec.pop("source", {})}
    snapshot = prepare_snapshot(home, data={"sources": [source]}, **spec)
    return prepare(snapshot, storage=open_storage(), scratch=home / "scratch", report=lambda progress: None, cpuinfo="")


def report_of(result: Prepared) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((Path(result.data_uri.removeprefix("file://")) / "report.json").read_text())
    return report


@pytest.fixture(scope="module")
def expected(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepared(tmp_path_factory.mktemp("expected"), model, "x.jsonl", LINES.encode())


@pytest.mark.parametrize("name", FILES)
def test_every_way_to_write_the_rows_gives_the_same_data(
    name: str, tmp_path: Path, model: Path, expected: Prepared
) -> None:
    result = prepared(tmp_path, model, name, FILES[name])
    assert result.data == expected.data
    assert expected.data.rows_read == len(PAIRS)


@pytest.mark.parametrize(
    ("name", "shape", "encoding"),
    [
        ("x.jsonl", "prompt and completion", "UTF-8"),
        ("utf-16.jsonl", "prompt and completion", "UTF-16"),
        ("semicolon.csv", "prompt and completion", "cp1252"),
        ("messages.parquet", "messages", None),
        ("alpaca.jsonl", "instruction and output (Alpaca)", "UTF-8"),
        ("sharegpt.jsonl", "conversations (ShareGPT)", "UTF-8"),
    ],
)
def test_the_report_shows_shapes_and_encodings(
    name: str, shape: str, encoding: str | None, tmp_path: Path, model: Path
) -> None:
    report = report_of(prepared(tmp_path, model, name, FILES[name]))
    assert report["shapes"] == {shape: len(PAIRS)}
    assert report["encodings"] == ({} if encoding is None else {encoding: 1})


def test_a_text_file_is_one_row_or_its_paragraphs_and_these_are_other_data(tmp_path: Path, model: Path) -> None:
    content = "\n\n".join(f"Paragraph {number}\nof two lines, é." for number in range(50)).encode()
    more: dict[str, Any] = {"task": {"type": "Completion"}, "training": {"sequenceLength": 256}}
    result = prepared(tmp_path / "a", model, "x.txt", content, source={"textDocument": "Paragraph"}, **more)
    assert result.data.rows_read == 50
    assert report_of(result)["shapes"] == {"text": 50}
    split = {"trainPercent": 100, "validationPercent": 0, "testPercent": 0}
    short = b"One document.\n\nOf two paragraphs.\n"
    digests = set()
    for number, document in enumerate(("File", "Paragraph")):
        source = {"uri": f"file://{tmp_path}/b/raw/*", "textDocument": document}
        if number == 0:
            (tmp_path / "b" / "raw").mkdir(parents=True)
            (tmp_path / "b" / "raw" / "x.txt").write_bytes(short)
            (tmp_path / "b" / "model").symlink_to(model)
        (tmp_path / "b" / f"scratch{number}").mkdir()
        snapshot = prepare_snapshot(tmp_path / "b", data={"sources": [source], "split": split}, **more)
        made = prepare(
            snapshot,
            storage=open_storage(),
            scratch=tmp_path / "b" / f"scratch{number}",
            report=lambda progress: None,
            cpuinfo="",
        )
        assert made.data.rows_read == number + 1
        digests.add(made.data_digest)
    assert len(digests) == 2
