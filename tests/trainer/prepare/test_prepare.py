"""The whole stage, from raw objects and a model's folder to prepared data and a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from corpora import conversation, pair, prepare_snapshot, write_rows
from finetune_api.contract import ExitCode
from finetune_api.progress import Activity, Progress
from finetune_api.result import Metrics, Prepared, Published, SplitCounts
from finetune_api.snapshot import Snapshot
from finetune_trainer import publication
from finetune_trainer.checkpoint.commit import open_run
from finetune_trainer.checkpoint.layout import run_uri
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare import prepare
from finetune_trainer.prepare.fingerprint import READ_WHOLE_BYTES
from finetune_trainer.prepared import SPLITS, Manifest, fetch, open_split, row_place
from finetune_trainer.storage import AccessDenied, PreconditionFailed, Storage, StoredObject, open_storage
from memory_storage import WatchedStorage
from s3server import S3Server
from tiny_models import TokenizerKind, tiny_model

GROUPS = 12
NOW = datetime(2026, 11, 23, tzinfo=UTC)


def run(snapshot: Snapshot, scratch: Path, storage: Storage | None = None) -> Prepared:
    scratch.mkdir(exist_ok=True)
    return prepare(
        snapshot, storage=storage or open_storage(), scratch=scratch, report=lambda progress: None, cpuinfo=""
    )


def failure(
    home: Path, rows: Iterable[Mapping[str, Any] | bytes] | None = None, storage: Storage | None = None, **spec: Any
) -> StageFailed:
    with pytest.raises(StageFailed) as failed:
        run(prepare_snapshot(home, rows, **spec), home / "scratch", storage)
    return failed.value


def places_of(prepared: Prepared, folder: Path) -> dict[str, set[str]]:
    """Each split's rows, by place."""
    manifest = fetch(open_storage(), prepared.data_uri, prepared.data_digest, folder)
    return {
        name: {row_place(row, manifest.sources).rpartition("/")[2] for row in open_split(folder, name).rows.tolist()}
        for name in SPLITS
    }


def answers_of(prepared: Prepared, folder: Path) -> dict[str, set[str]]:
    """The texts of the splits that have them."""
    fetch(open_storage(), prepared.data_uri, prepared.data_digest, folder)
    splits = {name: open_split(folder, name) for name in ("validation", "test")}
    return {
        name: {documents.texts(index).answer for index in range(len(documents))} for name, documents in splits.items()
    }


def jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def local(prepared: Prepared) -> Path:
    return Path(prepared.data_uri.removeprefix("file://"))


DIRTY: tuple[Mapping[str, Any] | bytes, ...] = (
    *map(pair, range(100)),
    pair(3),
    {"prompt": " What is 4 + 1?\n", "completion": "It is 5."},
    {"prompt": "Say\r\nhello\x00", "completion": "\ufeffHello  "},
    {"prompt": "And?", "completion": " "},
    b'{"prompt": "cut of',
    b"",
    pair(1000, completion="x" * 300),
)


def test_every_row_is_accounted_for(tmp_path: Path) -> None:
    prepared = run(prepare_snapshot(tmp_path, DIRTY), tmp_path / "scratch")
    data = prepared.data
    assert (data.files, data.rows_read, data.rows_cleaned, data.rows_rejected, data.rows_removed) == (1, 106, 1, 3, 2)
    assert data.splits == SplitCounts(train=81, validation=10, test=10)
    folder = local(prepared)
    source = f"file://{tmp_path}/raw/rows.jsonl"
    assert jsonl(folder / "rejected.jsonl") == [
        {"source": source, "line": 104, "kind": "Invalid", "field": "completion", "reason": "empty answer"},
        {
            "source": source,
            "line": 105,
            "kind": "Unreadable",
            "field": None,
            "reason": "not JSON at column 12: Unterminated string starting",
        },
        {
            "source": source,
            "line": 107,
            "kind": "TooLong",
            "field": None,
            "reason": "377 tokens, spec.training.sequenceLength is 256",
        },
    ]
    assert jsonl(folder / "removed.jsonl") == [
        {"source": source, "line": 101, "kind": "Duplicate", "kept": f"{source}:4"},
        {"source": source, "line": 102, "kind": "Duplicate", "kept": f"{source}:5"},
    ]
    report = json.loads((folder / "report.json").read_text())
    assert report["summary"] == data.to_json()
    assert report["rejected"] == {"Invalid": 1, "Unreadable": 1, "TooLong": 1}
    assert report["removed"] == {"Duplicate": 2}
    example = {"place": f"{source}:103", "before": "Say\r\nhello\x00", "after": "Say\nhello"}
    assert report["cleaning"]["lineEndings"] == {"rows": 1, "examples": [example]}
    assert sorted(report["cleaning"]) == ["byteOrderMarks", "controlCharacters", "lineEndings", "trailingBlanks"]
    places = places_of(prepared, tmp_path / "fetched")
    assert sum(map(len, places.values())) == 101
    assert not places["train"] & places["test"]
    assert "rows.jsonl:103" in set.union(*places.values())


def test_rows_that_cleaning_filters_or_empties_are_removed_and_never_fail_a_job(tmp_path: Path) -> None:
    rows = [*map(pair, range(100)), *(pair(number, completion="Hi") for number in range(50))]
    snapshot = prepare_snapshot(tmp_path, rows)
    data = {**snapshot.spec.data.to_json(), "cleaning": {"minCharacters": 20}}
    prepared = run(prepare_snapshot(tmp_path, rows, data=data), tmp_path / "scratch")
    assert (prepared.data.rows_rejected, prepared.data.rows_removed) == (0, 50)
    removed = jsonl(local(prepared) / "removed.jsonl")
    assert {row["line"] for row in removed} == set(range(101, 151))
    assert removed[0]["kind"] == "Filtered"
    assert removed[0]["reason"] == "16 characters, spec.data.cleaning.minCharacters is 20"


def test_examples_show_what_became_of_the_row(tmp_path: Path) -> None:
    """Not what a text would be alone: a row about encodings keeps its broken text, and loses its carriage return."""
    rows = [*map(pair, range(100)), {"prompt": "Which encoding is this?\r\n", "completion": "Ã© is é.\r\nRight?"}]
    prepared = run(prepare_snapshot(tmp_path, rows), tmp_path / "scratch")
    cleaning = json.loads((local(prepared) / "report.json").read_text())["cleaning"]
    place = f"file://{tmp_path}/raw/rows.jsonl:101"
    assert cleaning == {
        "lineEndings": {
            "rows": 1,
            "examples": [
                {"place": place, "before": "Which encoding is this?\r\n", "after": "Which encoding is this?\n"},
                {"place": place, "before": "Ã© is é.\r\nRight?", "after": "Ã© is é.\nRight?"},
            ],
        }
    }


def test_totals_of_the_train_split_are_those_of_its_documents(tmp_path: Path) -> None:
    prepared = run(prepare_snapshot(tmp_path), tmp_path / "scratch")
    train = open_split(local(prepared), "train")
    assert prepared.data.train_tokens == train.lengths.sum()
    assert prepared.data.trained_tokens == train.trained.sum()
    assert prepared.data.trained_tokens == sum(int(train.mask(index).sum()) for index in range(len(train)))
    assert len(train) == prepared.data.splits.train


def test_a_second_job_with_the_same_data_only_tries_whether_it_may_write(tmp_path: Path) -> None:
    first = run(prepare_snapshot(tmp_path), tmp_path / "scratch")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "output").rglob("*") if path.is_file()}
    storage = WatchedStorage(open_storage())
    again = run(prepare_snapshot(tmp_path, map(pair, range(100)), workers={"nodes": 4}), tmp_path / "again", storage)
    assert again == first
    assert storage.changes == 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert before.keys() == {path for path in (tmp_path / "output").rglob("*") if path.is_file()}


def test_each_folder_is_tried_once_before_the_work_begins(tmp_path: Path) -> None:
    class Recording(WatchedStorage):
        def write(self, uri: str, content: bytes, *, if_match: str | None = None, if_absent: bool = False) -> Any:
            written.append(uri.removeprefix(f"file://{tmp_path}/"))
            return super().write(uri, content, if_match=if_match, if_absent=if_absent)

    written: list[str] = []
    prepared = run(prepare_snapshot(tmp_path), tmp_path / "scratch", Recording(open_storage()))
    assert [uri for uri in written if uri.endswith(".may-be-written")] == [
        f"{prepared.data_uri.removeprefix(f'file://{tmp_path}/')}/.may-be-written",
        "output/.may-be-written",
    ]


def test_prepared_data_that_is_no_longer_whole_is_made_again(tmp_path: Path) -> None:
    first = run(prepare_snapshot(tmp_path), tmp_path / "scratch")
    (local(first) / "train" / "00000.arrow").unlink()
    assert run(prepare_snapshot(tmp_path), tmp_path / "again") == first
    fetch(open_storage(), first.data_uri, first.data_digest, tmp_path / "fetched")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    def manifest(cache: str) -> Manifest:
        spec = {
            "data": {"sources": [{"uri": f"file://{tmp_path}/raw/*.jsonl"}], "cacheUri": f"file://{tmp_path}/{cache}"}
        }
        prepared = run(prepare_snapshot(tmp_path, DIRTY, **spec), tmp_path / f"scratch-{cache}")
        assert prepared.data_uri.startswith(f"file://{tmp_path}/{cache}/prepared/")
        return fetch(open_storage(), prepared.data_uri, prepared.data_digest, tmp_path / f"fetched-{cache}")

    assert manifest("one") == manifest("two")


def test_a_rows_split_does_not_depend_on_where_it_lies(tmp_path: Path) -> None:
    rows = [pair(number) for number in range(100)]
    one = run(prepare_snapshot(tmp_path / "one", rows), tmp_path / "s1")
    many_home = tmp_path / "many"
    for number in range(7):
        write_rows(many_home / "raw" / f"{6 - number}.jsonl", rows[number::7][::-1])
    many = run(prepare_snapshot(many_home), tmp_path / "s2")
    assert answers_of(many, tmp_path / "f2") == answers_of(one, tmp_path / "f1")
    assert many.data.splits == one.data.splits


def test_of_duplicates_over_files_the_first_in_sorted_order_is_kept(tmp_path: Path) -> None:
    write_rows(tmp_path / "raw" / "b.jsonl", map(pair, range(100)))
    write_rows(tmp_path / "raw" / "a.jsonl", [pair(7)])
    prepared = run(prepare_snapshot(tmp_path), tmp_path / "scratch")
    (removed,) = jsonl(local(prepared) / "removed.jsonl")
    uri = f"file://{tmp_path}/raw"
    assert (removed["source"], removed["line"], removed["kept"]) == (f"{uri}/b.jsonl", 8, f"{uri}/a.jsonl:1")


def test_duplicates_are_kept_when_the_spec_says_so(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/raw/*.jsonl"
    snapshot = prepare_snapshot(tmp_path, DIRTY, data={"sources": [{"uri": uri}], "deduplication": "Off"})
    assert run(snapshot, tmp_path / "scratch").data.rows_removed == 0


def test_rows_of_a_group_stay_together(tmp_path: Path) -> None:
    rows = [pair(number, ticket=f"T{number % GROUPS}") for number in range(120)]
    split = {"groupBy": "ticket", "seed": 1}
    data = {"sources": [{"uri": f"file://{tmp_path}/raw/*.jsonl"}], "split": split}
    prepared = run(prepare_snapshot(tmp_path, rows, data=data), tmp_path / "scratch")
    lines = {
        name: {(int(place.rpartition(":")[2]) - 1) % GROUPS for place in places}
        for name, places in places_of(prepared, tmp_path / "fetched").items()
    }
    assert sum(map(len, lines.values())) == GROUPS
    assert all(lines.values())


def test_progress_is_heard(tmp_path: Path) -> None:
    heard: list[Progress] = []
    snapshot = prepare_snapshot(tmp_path, map(pair, range(2500)))
    prepare(snapshot, storage=open_storage(), scratch=tmp_path, report=heard.append, cpuinfo="")
    assert [(progress.activity, progress.rows_read) for progress in heard] == [
        (Activity.READING, 0),
        (Activity.READING, 1024),
        (Activity.READING, 2048),
        (Activity.READING, 2500),
        (Activity.ENCODING, 1024),
        (Activity.ENCODING, 2048),
        (Activity.ENCODING, 2500),
    ]


def test_mistrals_own_tokenizer_and_plain_documents(tmp_path: Path) -> None:
    tiny_model(tmp_path / "model", tokenizer=TokenizerKind.MISTRAL_V3)
    rows = [{"body": f"Document {number}. " * 5} for number in range(60)] + [{"body": "  "}]
    task = {"type": "Completion", "completion": {"textField": "body"}}
    prepared = run(prepare_snapshot(tmp_path, rows, task=task), tmp_path / "scratch")
    assert (prepared.data.rows_read, prepared.data.rows_removed) == (61, 1)
    train = open_split(local(prepared), "train")
    assert (train.trained == train.lengths - 1).all()


def test_a_conversation_that_is_trained_in_several_documents_is_one_row(tmp_path: Path) -> None:
    tiny_model(tmp_path / "model", tokenizer=TokenizerKind.MISTRAL_V3)
    rows = [conversation(f"q{number}", "a", "r", f"b{number}", system="s") for number in range(60)]
    prepared = run(prepare_snapshot(tmp_path, rows), tmp_path / "scratch")
    train = open_split(local(prepared), "train")
    assert len(train) == 2 * prepared.data.splits.train
    assert len(set(train.rows.tolist())) == prepared.data.splits.train


@pytest.mark.parametrize(
    ("rows", "spec", "exit_code", "field"),
    [
        (None, {"model": {"uri": "file:///nowhere/model"}}, ExitCode.MISMATCH, "spec.model.uri"),
        (
            None,
            {"data": {"sources": [{"uri": "file:///nowhere/*.jsonl"}]}},
            ExitCode.MISMATCH,
            "spec.data.sources[0].uri",
        ),
        ([b"", b"  "], {}, ExitCode.MISMATCH, "spec.data.sources"),
        ([{"q": "a"}], {}, ExitCode.MISMATCH, "spec.task.instruction"),
        (
            None,
            {"task": {"type": "Instruction", "instruction": {"promptField": "prompt", "completionField": "label"}}},
            ExitCode.MISMATCH,
            "spec.task.instruction.completionField",
        ),
        (None, {"task": {"type": "Completion"}}, ExitCode.MISMATCH, "spec.task.completion.textField"),
        ([pair(number) for number in range(2)], {}, ExitCode.MISMATCH, "spec.data.split"),
        ([pair(0), *[b"{"] * 10], {}, ExitCode.BAD_ROWS, "spec.data.sources"),
        (None, {"training": {"sequenceLength": 32}}, ExitCode.BAD_ROWS, "spec.training.sequenceLength"),
        (None, {"training": {"sequenceLength": 4096}}, ExitCode.BAD_CONFIG, "spec.training.sequenceLength"),
        (
            None,
            {"method": {"type": "LoRA", "lora": {"targetModules": ["c_attn"]}}},
            ExitCode.BAD_CONFIG,
            "spec.method.lora.targetModules",
        ),
    ],
)
def test_bad_input_ends_the_job_and_names_the_field(
    tmp_path: Path, rows: Any, spec: dict[str, Any], exit_code: ExitCode, field: str
) -> None:
    failed = failure(tmp_path, rows, **spec)
    assert (failed.exit_code, failed.failure.field) == (exit_code, field)
    assert "Traceback" not in failed.failure.message


def test_of_too_many_bad_rows_the_first_ten_are_named_and_all_are_listed(tmp_path: Path) -> None:
    rows = [*map(pair, range(100)), *[b"{"] * 12]
    failed = failure(tmp_path, rows)
    source = f"file://{tmp_path}/raw/rows.jsonl"
    assert failed.failure.places == tuple(f"{source}:{line}" for line in range(101, 111))
    assert "12 of 112 rows (10.7 %)" in failed.failure.message
    (listed,) = (tmp_path / "output" / "prepared").glob("*/rejected.jsonl")
    assert len(jsonl(listed)) == 12
    more = {"sources": [{"uri": f"file://{tmp_path}/raw/*.jsonl"}], "maxBadRowPercent": 11}
    assert run(prepare_snapshot(tmp_path, data=more), tmp_path / "again").data.rows_rejected == 12


def publish(prepared: Prepared, output_uri: str) -> Published:
    """An empty model, committed as training would."""
    storage = open_storage()
    opened = open_run(storage, run_uri(output_uri, prepared.run), owner="u", clock=lambda: NOW)
    manifest = publication.Manifest(
        run=prepared.run,
        step=1,
        epoch=opened.epoch,
        base_model_uri="",
        base_model_digest="",
        data_uri="",
        data_digest="",
        metrics=Metrics(),
        files=(),
    )
    return publication.commit(storage, opened, output_uri, manifest)


def test_a_run_that_is_already_published_is_used_again_or_refused(tmp_path: Path) -> None:
    snapshot = prepare_snapshot(tmp_path)
    first = run(snapshot, tmp_path / "s1")
    assert first.published is None
    published = publish(first, snapshot.spec.output.uri)
    assert run(snapshot, tmp_path / "s2").published == published
    other = prepare_snapshot(tmp_path, training={"sequenceLength": 256, "seed": 1})
    assert run(other, tmp_path / "s3").published is None
    failed = failure(tmp_path, output={"uri": snapshot.spec.output.uri, "ifExists": "Fail"})
    assert (failed.exit_code, failed.failure.field) == (ExitCode.BAD_CONFIG, "spec.output.ifExists")
    assert published.manifest_uri in failed.failure.message


class Interfering(WatchedStorage):
    """Calls `met` with each uri that is opened, read or listed, once it is open."""

    def __init__(self, met: Callable[[str], None]) -> None:
        super().__init__(open_storage())
        self._met = met

    def open(self, uri: str) -> BinaryIO:
        stream = self.inner.open(uri)
        try:
            self._met(uri)
        except BaseException:
            stream.close()
            raise
        return stream

    def read(self, uri: str, start: int = 0, length: int | None = None) -> tuple[bytes, str]:
        self._met(uri)
        return super().read(uri, start, length)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        self._met(prefix)
        return super().list(prefix)


def changing_meanwhile(path: Path) -> Interfering:
    """The file has one line more when it is read for the second time: row by row, after its fingerprint was taken."""
    reads = 0

    def append(uri: str) -> None:
        nonlocal reads
        reads += uri == f"file://{path}"
        if reads == 2:
            path.write_bytes(path.read_bytes() + b"{}\n")

    return Interfering(append)


def test_data_that_changes_while_it_is_read_is_read_again_by_the_next_attempt(tmp_path: Path) -> None:
    failed = failure(tmp_path, storage=changing_meanwhile(tmp_path / "raw" / "rows.jsonl"))
    assert (failed.exit_code, failed.failure.reason) == (ExitCode.RETRY, "DataChanged")
    assert [path for path in (tmp_path / "output").rglob("*") if path.is_file()] == []


def test_a_benchmark_that_changes_before_it_is_read_is_read_again_by_the_next_attempt(tmp_path: Path) -> None:
    exam = tmp_path / "exam.jsonl"
    write_rows(exam, [{"question": " ".join(map(str, range(20)))}])
    data = {
        "sources": [{"uri": f"file://{tmp_path}/raw/*.jsonl"}],
        "decontamination": {"benchmarks": [{"uri": f"file://{exam}"}]},
    }
    failed = failure(tmp_path, storage=changing_meanwhile(exam), data=data)
    assert (failed.exit_code, failed.failure.reason) == (ExitCode.RETRY, "DataChanged")


def test_a_store_that_notices_the_change_first_means_the_same(tmp_path: Path) -> None:
    def refuse(uri: str) -> None:
        if uri.endswith("big.jsonl"):  # large: not read for its fingerprint
            raise PreconditionFailed(uri)

    snapshot = prepare_snapshot(tmp_path, data={"sources": [{"uri": f"file://{tmp_path}/raw/*.jsonl"}]})
    with (tmp_path / "raw" / "big.jsonl").open("wb") as big:
        big.truncate(READ_WHOLE_BYTES + 1)
    with pytest.raises(StageFailed) as failed:
        run(snapshot, tmp_path / "scratch", Interfering(refuse))
    assert (failed.value.exit_code, failed.value.failure.reason) == (ExitCode.RETRY, "DataChanged")


@pytest.mark.parametrize(("folder", "field"), [("raw", "spec.data.sources[0].uri"), ("output", "spec.output.uri")])
def test_a_refusal_of_the_store_names_the_uri_that_it_is_about(tmp_path: Path, folder: str, field: str) -> None:
    def deny(uri: str) -> None:
        if f"/{folder}/" in uri:
            raise AccessDenied(f"{uri}: 403 Forbidden")

    failed = failure(tmp_path, storage=Interfering(deny))
    assert (failed.exit_code, failed.failure.field) == (ExitCode.ACCESS_DENIED, field)
    assert failed.failure.message.startswith(f"{field}: file://")


@pytest.mark.parametrize(
    ("forbidden", "field"),
    [("/cache/prepared/", "spec.data.cacheUri"), ("/output/", "spec.output.uri")],
)
@pytest.mark.parametrize("act", ["write", "delete"])
def test_a_place_that_may_only_be_read_is_named_before_any_row_is(
    tmp_path: Path, forbidden: str, field: str, act: str
) -> None:
    """`act` is refused below the forbidden folder."""

    class ReadOnly(WatchedStorage):
        opened = 0

        def open(self, uri: str) -> BinaryIO:
            self.opened += 1
            return super().open(uri)

        def write(self, uri: str, content: bytes, **condition: Any) -> StoredObject:
            self._refuse("write", uri)
            return super().write(uri, content, **condition)

        def delete(self, uri: str) -> None:
            self._refuse("delete", uri)
            super().delete(uri)

        def _refuse(self, asked: str, uri: str) -> None:
            if asked == act and forbidden in uri:
                raise AccessDenied(f"{uri}: 403 Forbidden")

    storage = ReadOnly(open_storage())
    data = {"sources": [{"uri": f"file://{tmp_path}/raw/*.jsonl"}], "cacheUri": f"file://{tmp_path}/cache"}
    failed = failure(tmp_path, storage=storage, data=data)
    assert (failed.exit_code, failed.failure.field) == (ExitCode.ACCESS_DENIED, field)
    assert storage.opened == 0


@pytest.mark.tier("s3")
def test_the_same_stage_in_s3(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    storage = open_storage(endpoint=s3_server.endpoint, region=s3_server.region)
    expected = run(prepare_snapshot(tmp_path, DIRTY), tmp_path / "s0")
    for folder in ("model", "raw"):
        for path in (tmp_path / folder).iterdir():
            storage.upload(path, f"s3://{s3_bucket}/{folder}/{path.name}")
    in_s3 = prepare_snapshot(
        tmp_path,
        model={"uri": f"s3://{s3_bucket}/model"},
        data={"sources": [{"uri": f"s3://{s3_bucket}/raw/**"}]},
        output={"uri": f"s3://{s3_bucket}/output"},
    )
    prepared = run(in_s3, tmp_path / "s1", storage)
    assert (prepared.data, prepared.resolved, prepared.model_digest) == (
        expected.data,
        expected.resolved,
        expected.model_digest,
    )
    assert run(in_s3, tmp_path / "s2", storage) == prepared
    fetch(storage, prepared.data_uri, prepared.data_digest, tmp_path / "fetched")
    absent = prepare_snapshot(tmp_path, model={"uri": "s3://no-such-bucket/model"})
    with pytest.raises(StageFailed) as failed:
        run(absent, tmp_path / "s3", storage)
    assert (failed.value.exit_code, failed.value.failure.field) == (ExitCode.MISMATCH, "spec.model.uri")


def test_rows_with_tools_are_prepared_for_a_model_that_knows_them(tmp_path: Path) -> None:
    arguments = '{"city":  "Tromsø", "html": "<b>&amp;</b>"}'
    function = {"name": "weather", "parameters": {"type": "object"}}
    call = {"id": "call_with_a_long_id", "type": "function", "function": {"name": "weather", "arguments": arguments}}

    def row(number: int) -> dict[str, Any]:
        return {
            "tools": [{"type": "function", "function": function}],
            "messages": [
                {"role": "user", "content": f"Rain on day {number}?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": f'{{"mm":  {number}, "note": "&amp;"}}'},
                {"role": "assistant", "content": f"{number} mm."},
            ],
        }

    unknown = row(50)
    unknown["messages"][1]["tool_calls"] = [{**call, "function": {"name": "rain", "arguments": "{}"}}]
    rows = [*map(row, range(40)), unknown]
    tiny_model(tmp_path / "model", tokenizer=TokenizerKind.MISTRAL_V3)
    prepared = run(prepare_snapshot(tmp_path, rows, data={"deduplication": "Exact"}), tmp_path / "scratch")
    assert prepared.data.splits == SplitCounts(train=32, validation=4, test=4)
    (rejected,) = jsonl(local(prepared) / "rejected.jsonl")
    assert (rejected["line"], rejected["field"]) == (41, "messages[1]")
    assert rejected["reason"] == "messages[1] calls 'rain', which the row's tools do not define"
    assert prepared.data.rows_cleaned == 0
    fetch(open_storage(), prepared.data_uri, prepared.data_digest, tmp_path / "fetched")
    documents = open_split(tmp_path / "fetched", "test")
    assert documents.texts(0).prompt.startswith('{"mm":  ')
    assert "&amp;" in documents.texts(0).prompt


def test_rows_with_tools_are_rejected_for_a_model_whose_template_leaves_tools_out(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    rows = [*map(pair, range(100)), *(pair(number, tools=tools) for number in range(100, 103))]
    prepared = run(prepare_snapshot(tmp_path, rows), tmp_path / "scratch")
    reasons = {entry["reason"] for entry in jsonl(local(prepared) / "rejected.jsonl")}
    assert reasons == {"has tools, and the model's chat template leaves out their definitions"}
    assert prepared.data.rows_rejected == 3


def test_what_does_not_fit_is_cut_on_the_prompt_side_where_the_spec_says_so(tmp_path: Path) -> None:
    long = {"prompt": "word " * 100 + "What is 7 + 1?", "completion": "It is 8!"}
    answer = pair(2000, completion="x" * 300)
    rows = [*map(pair, range(100)), long, answer]
    prepared = run(prepare_snapshot(tmp_path, rows, data={"overlong": "TruncatePrompt"}), tmp_path / "scratch")
    assert (prepared.data.rows_truncated, prepared.data.rows_rejected) == (1, 1)
    (rejected,) = jsonl(local(prepared) / "rejected.jsonl")
    assert (rejected["kind"], rejected["line"]) == ("TooLong", 102)
    assert "tokens without its question" in rejected["reason"]
    strict = run(prepare_snapshot(tmp_path, rows), tmp_path / "strict")
    assert (strict.data.rows_truncated, strict.data.rows_rejected) == (0, 2)
    assert strict.data_uri != prepared.data_uri


def test_rows_whose_group_is_empty_are_no_group(tmp_path: Path) -> None:
    groups: list[object] = ["", " \t", None, float("nan")]
    rows = [pair(number, ticket=groups[number % 4] if number < 100 else number) for number in range(120)]
    split = {"trainPercent": 80, "validationPercent": 10, "testPercent": 10, "groupBy": "ticket"}
    prepared = run(prepare_snapshot(tmp_path, data={"split": split}, rows=rows), tmp_path / "scratch")
    assert prepared.data.splits == SplitCounts(train=96, validation=12, test=12)


@pytest.mark.parametrize("ticket", ['"\\ud800"', '{"id": ["\\ud800"]}', '{"\\ud800": 1}'])
def test_a_group_that_no_text_can_hold_rejects_its_row(tmp_path: Path, ticket: str) -> None:
    bad = b'{"prompt": "q", "completion": "a", "ticket": %s}' % ticket.encode()
    rows = [*(pair(number, ticket=number) for number in range(40)), bad]
    prepared = run(prepare_snapshot(tmp_path, rows, data={"split": {"groupBy": "ticket"}}), tmp_path / "scratch")
    (rejected,) = jsonl(local(prepared) / "rejected.jsonl")
    assert (rejected["line"], rejected["field"]) == (41, "ticket")
    assert rejected["reason"] == "ticket holds half a surrogate pair"
