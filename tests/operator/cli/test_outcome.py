"""What a finished job is told to a person with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.result import Failure
from finetune_api.status import Artifacts, Condition, ConditionStatus, ConditionType, Phase, Status
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


def test_texts_keep_their_lines_and_long_ones_are_cut() -> None:
    code = "def f(x):\n\n    return x  \n"
    sample = Sample(prompt=code, expected="a" * 401, before="\n".join("1234567"), after="a" * 400)
    told = dict(success(make_job(), (sample,)))
    assert told["Test row 1"] == "def f(x):\n    return x"
    assert told["expected"] == "a" * 400 + " …"
    assert told["before"] == "\n".join("123456") + " …"
    assert told["after"] == "a" * 400


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


def test_a_run_that_was_published_before_says_so() -> None:
    reused = Condition(
        type=ConditionType.SUCCEEDED,
        status=ConditionStatus.TRUE,
        reason="Reused",
        last_transition_time=datetime(2026, 11, 23, tzinfo=UTC),
        observed_generation=1,
    )
    told = list(success(make_job(status=Status(conditions=(reused,))), ()))
    assert told == [("Reused", "this very run was published before, so nothing was trained")]
