"""Bad rows end a job before any training pod exists, and status says in which file and line they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from finetune_api.contract import Stage
from finetune_api.status import Cause, Phase
from real.job import RealJob
from real.materials import BAD_LINES, BUCKET

pytestmark = pytest.mark.tier("node")


@pytest.mark.timeout(240)
def test_bad_rows_are_told_with_file_and_line(new_job: Callable[..., RealJob]) -> None:
    job = new_job("misfed", data={"sources": [{"uri": f"s3://{BUCKET}/bad/*.jsonl"}]})
    job.apply()

    status = job.ended(Phase.FAILED)

    assert status.failure is not None
    assert status.failure.field == "spec.data.sources"
    assert status.failure.places == tuple(f"s3://{BUCKET}/bad/rows.jsonl:{line}" for line in BAD_LINES)
    (attempt,) = status.attempts
    assert (attempt.stage, attempt.cause) == (Stage.PREPARE, Cause.TERMINAL)
    assert job.pods(Stage.TRAIN) == []
    assert not [child for child in job.children() if "-train-" in child]
