"""What a finished job is told to a person with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.result import Failure
from finetune_api.status import Artifacts, Phase, Status
from finetune_operator.cli.outcome import Sample, failure, read_samples, success
from jobs import make_job

ROW = {"prompt": "Say  yes.\n\nNow.", "expected": "yes", "before": "no", "after": "yes"}


def reported_at(uri: str) -> FineTuneJob:
    artifacts = Artifacts(model_uri="m", report_uri=uri, manifest_uri="m", manifest_sha256="m")
    return make_job(status=Status(artifacts=artifacts))


def test_the_first_three_samples_beside_the_report_are_read(tmp_path: Path) -> None:
    rows = [{**ROW, "prompt": str(number)} for number in range(4)]
    (tmp_path / "samples.json").write_text(json.dumps(rows))
    assert read_samples(reported_at(f"file://{tmp_path}/report.html")) == tuple(
        Sample(prompt=str(number), expected="yes", before="no", after="yes") for number in range(3)
    )


def test_a_run_without_samples_or_in_s3_has_none_to_tell(tmp_path: Path) -> None:
    assert read_samples(reported_at(f"file://{tmp_path}/report.html")) == ()
    assert read_samples(reported_at("s3://models/report.html")) == ()
    assert read_samples(make_job()) == ()


def test_texts_are_told_in_one_line_and_long_ones_are_cut() -> None:
    sample = Sample(prompt=ROW["prompt"], expected="a" * 301, before="", after="a" * 300)
    told = dict(success(make_job(), (sample,)))
    assert told["Test row 1"] == "Say yes. Now."
    assert told["expected"] == "a" * 300 + " …"
    assert told["after"] == "a" * 300


@pytest.mark.parametrize(
    ("found", "log", "lines"),
    [
        (
            Failure(reason="NoRows", message="No row is left.", field="spec.data", places=("a.jsonl:1", "a.jsonl:2")),
            Path("/logs/x.log"),
            [
                ("Failed", "No row is left. (NoRows)"),
                ("Change", "spec.data"),
                ("Places", "a.jsonl:1"),
                ("", "a.jsonl:2"),
                ("Log", "/logs/x.log"),
            ],
        ),
        (Failure(reason="NoRows", message="No row is left."), None, [("Failed", "No row is left. (NoRows)")]),
        (None, None, [("Cancelled", "")]),
    ],
)
def test_a_failure_says_what_to_change_where_and_what_to_read(
    found: Failure | None, log: Path | None, lines: list[tuple[str, str]]
) -> None:
    job = make_job(status=Status(phase=Phase.CANCELLED if found is None else Phase.FAILED, failure=found))
    assert list(failure(job, log)) == lines
