"""What a rank says while files arrive."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from finetune_api.progress import Activity
from finetune_trainer.progress import ProgressFile
from finetune_trainer.reporting import Reporter


def test_files_that_arrive_are_told_once_a_second_and_when_all_are_there(tmp_path: Path) -> None:
    now = [100.0]
    file = ProgressFile(tmp_path / "progress.json")
    reporter = Reporter(file, 1, clock=lambda: now[0], now=lambda: datetime(2026, 1, 1, tzinfo=UTC), memory=lambda: 0)
    told = []
    for now[0], done in ((100.0, 10), (100.5, 20), (101.0, 30), (101.1, 40), (101.2, 50)):
        reporter.fetched(done, 50)
        heard = file.heard()
        assert heard is not None
        assert (heard[0].activity, heard[0].bytes_total) == (Activity.STARTING, 50)
        told.append(heard[0].bytes_fetched)
    assert told == [10, 10, 30, 30, 50]
