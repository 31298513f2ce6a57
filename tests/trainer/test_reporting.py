"""What a rank says while files arrive."""

from __future__ import annotations

from pathlib import Path

from finetune_api.progress import Activity
from finetune_trainer.progress import ProgressFile
from finetune_trainer.reporting import Reporter


def test_files_that_arrive_are_told_once_a_second_and_when_all_are_there(tmp_path: Path) -> None:
    times = [100.0, 100.0, 100.0, 100.5, 101.0, 101.1, 101.2]
    file = ProgressFile(tmp_path / "progress.json")
    reporter = Reporter(file, 1, lambda: times.pop(0))
    told = []
    for done in (10, 20, 30, 40, 50):
        reporter.fetched(done, 50)
        heard = file.heard()
        assert heard is not None
        assert (heard[0].activity, heard[0].bytes_total) == (Activity.STARTING, 50)
        told.append(heard[0].bytes_fetched)
    assert told == [10, 10, 30, 30, 50]
