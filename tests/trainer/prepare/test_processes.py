"""Preparation in several processes gives what it gives in one, byte for byte."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from corpora import pair, prepare_snapshot, write_rows
from finetune_api.contract import ExitCode
from finetune_api.progress import Activity, Progress
from finetune_trainer.failures import StageFailed
from finetune_trainer.prepare import prepare
from finetune_trainer.storage import open_storage


def make_rows(home: Path) -> None:
    """Seven files of which one is much the largest and one is empty, with rows of every fate."""
    dice = random.Random(7)
    words = [f"w{number}" for number in range(100, 600)]

    def long_pair(number: int) -> dict[str, Any]:
        return pair(number, completion=" ".join(dice.choices(words, k=24)))

    def dirty(number: int) -> list[Mapping[str, Any] | bytes]:
        good = [long_pair(1000 * number + row) for row in range(150)]
        near = {**good[5], "completion": f"{good[5]['completion']} indeed"}
        broken = {"prompt": "Say\r\nhello\x00", "completion": f"\ufeffHello {number}"}
        return [
            *good,
            near,
            pair(3),
            broken,
            b"{",
            {"prompt": "And?", "completion": " "},
            pair(9, completion="x " * 900),
        ]

    for number in range(6):
        write_rows(home / "raw" / f"{number}.jsonl", dirty(number))
    write_rows(home / "raw" / "3.jsonl", [row for number in range(30, 50) for row in dirty(number)])
    (home / "raw" / "6.jsonl").write_bytes(b"")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_any_number_of_processes_gives_the_same_bytes(tmp_path: Path) -> None:
    make_rows(tmp_path)
    made: dict[int, dict[str, bytes]] = {}
    heard: dict[int, list[Progress]] = {}
    for processes in (1, 2, 3):
        data = {
            "sources": [{"uri": f"file://{tmp_path}/raw/*.jsonl"}],
            "cacheUri": f"file://{tmp_path}/{processes}",
            "maxBadRowPercent": 10,
        }
        scratch = tmp_path / f"scratch-{processes}"
        scratch.mkdir()
        heard[processes] = []
        prepare(
            prepare_snapshot(tmp_path, data=data),
            storage=open_storage(),
            scratch=scratch,
            report=heard[processes].append,
            cpuinfo="",
            processes=lambda _, number=processes: number,
        )
        assert list(scratch.iterdir()) == []
        made[processes] = files_of(tmp_path / str(processes))
    assert made[1] == made[2] == made[3]
    assert len(made[1]) > 8
    for progress in heard.values():
        for activity in (Activity.READING, Activity.ENCODING):
            counts = [one.rows_read or 0 for one in progress if one.activity is activity]
            assert counts == sorted(counts)
    assert {max(one.rows_read or 0 for one in progress) for progress in heard.values()} == {25 * 156}


@pytest.mark.parametrize("processes", [1, 3])
def test_of_several_damaged_files_always_the_same_is_named(tmp_path: Path, processes: int) -> None:
    snapshot = prepare_snapshot(tmp_path)
    for number in range(6):
        rows = [pair(row) for row in range(20 * number)]
        write_rows(tmp_path / "raw" / f"{number}.jsonl.gz", rows)
        if number in (2, 3, 5):
            whole = (tmp_path / "raw" / f"{number}.jsonl.gz").read_bytes()
            (tmp_path / "raw" / f"{number}.jsonl.gz").write_bytes(whole[:-9])
    sources = {"sources": [{"uri": f"file://{tmp_path}/raw/*"}]}
    snapshot = prepare_snapshot(tmp_path, data=sources)
    with pytest.raises(StageFailed) as failed:
        prepare(
            snapshot,
            storage=open_storage(),
            scratch=tmp_path,
            report=lambda _: None,
            cpuinfo="",
            processes=lambda _: processes,
        )
    assert (failed.value.exit_code, failed.value.failure.reason) == (ExitCode.MISMATCH, "DataCorrupt")
    assert "/raw/5.jsonl.gz" in failed.value.failure.message  # the largest, which is read first
