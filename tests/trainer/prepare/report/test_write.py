"""The report that a whole preparation writes."""

from __future__ import annotations

from pathlib import Path

from corpora import pair, prepare_snapshot, write_rows
from finetune_trainer.prepare import prepare
from finetune_trainer.prepare.report.model import PreparationReport
from finetune_trainer.prepare.report.page import report_page
from finetune_trainer.storage import open_storage


def test_rows_that_are_alike_are_shown_with_their_places_and_the_page_says_what_the_file_says(tmp_path: Path) -> None:
    write_rows(tmp_path / "raw" / "a.jsonl", [*map(pair, range(60)), pair(7), pair(7)])
    write_rows(tmp_path / "raw" / "b.jsonl", [pair(9), pair(3, completion="It is five."), b"{"])
    (tmp_path / "scratch").mkdir()
    prepared = prepare(
        prepare_snapshot(tmp_path),
        storage=open_storage(),
        scratch=tmp_path / "scratch",
        report=lambda progress: None,
        cpuinfo="",
    )
    folder = Path(prepared.data_uri.removeprefix("file://"))
    report = PreparationReport.model_validate_json((folder / "report.json").read_bytes())

    first, second = (f"file://{tmp_path}/raw/{name}.jsonl" for name in "ab")
    assert [(found.rows, found.places, found.texts) for found in report.duplicates] == [
        (3, (f"{first}:8", f"{first}:61"), ("user: What is 7 + 1?\nassistant: It is 8.",) * 2),
        (2, (f"{first}:10", f"{second}:1"), ("user: What is 9 + 1?\nassistant: It is 10.",) * 2),
    ]
    (conflict,) = report.conflicts
    assert conflict.places == (f"{first}:4", f"{second}:2")
    assert conflict.texts[1] == "user: What is 3 + 1?\nassistant: It is five."
    assert report.verdict.sentence == "Good to train: 61 of 65 rows; 5 things to look at"
    assert (folder / "report.html").read_text() == report_page(report)
