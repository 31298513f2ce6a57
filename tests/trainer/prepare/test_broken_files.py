"""Raw files that are broken in one way each, through the whole of preparation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broken_files import FILES, GOOD_ROWS, ROWS, Broken
from corpora import prepare_snapshot
from finetune_api.contract import ExitCode
from finetune_api.result import Prepared
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage
from tiny_models import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    tiny_model(folder)
    return folder


def prepared(broken: Broken, home: Path, model: Path) -> Prepared:
    (home / "raw").mkdir()
    (home / "scratch").mkdir()
    (home / "model").symlink_to(model)
    (home / "raw" / broken.name).write_bytes(broken.content())
    snapshot = prepare_snapshot(home, data={"sources": [{"uri": f"file://{home}/raw/*"}]})
    return prepare(snapshot, storage=open_storage(), scratch=home / "scratch", report=lambda progress: None, cpuinfo="")


def test_there_are_as_many_ways_as_promised() -> None:
    assert len({broken.about for broken in (*ROWS, *FILES)}) == len(ROWS) + len(FILES) >= 40


@pytest.mark.parametrize("broken", ROWS, ids=[broken.about for broken in ROWS])
def test_a_broken_row_is_listed_and_the_others_are_used(broken: Broken, tmp_path: Path, model: Path) -> None:
    result = prepared(broken, tmp_path, model)
    folder = Path(result.data_uri.removeprefix("file://"))
    listed = [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]
    assert broken.place is not None
    assert [row["line"] for row in listed] == list(range(broken.place, broken.place + broken.rejected))
    assert {row["source"] for row in listed} == {f"file://{tmp_path}/raw/{broken.name}"}
    assert all(broken.says in row["reason"] for row in listed), listed
    # Of columns the bad row is one of the forty.
    used = result.data.rows_read - broken.rejected - result.data.rows_removed
    assert used == (GOOD_ROWS - 1 if broken.name.endswith(".parquet") else GOOD_ROWS)


@pytest.mark.parametrize("broken", FILES, ids=[broken.about for broken in FILES])
def test_a_broken_file_ends_the_job_and_is_named(broken: Broken, tmp_path: Path, model: Path) -> None:
    with pytest.raises(StageFailed) as failed:
        prepared(broken, tmp_path, model)
    failure = failed.value.failure
    assert failure.reason == broken.fails
    assert broken.says in failure.message
    assert failed.value.exit_code in (ExitCode.BAD_CONFIG, ExitCode.MISMATCH, ExitCode.BAD_ROWS)
    assert failure.field in ("spec.data.sources", "spec.data.sources[0].uri", "spec.task.instruction")
    assert broken.name in failure.message or broken.fails in ("DataEmpty", "FieldAbsent", "TooManyBadRows")
    assert "Traceback" not in failure.message
    first = f"file://{tmp_path}/raw/{broken.name}:{broken.place}"
    assert failure.places[:1] == (() if broken.place is None else (first,))
    assert list((tmp_path / "scratch").iterdir()) == []
