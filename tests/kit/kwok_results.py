"""Last words of stages as the real trainer would say them, for pods that only kwok runs."""

from __future__ import annotations

from finetune_api.contract import ExitCode, Stage
from finetune_api.result import (
    DataSummary,
    Failure,
    Metrics,
    Prepared,
    Published,
    Resolved,
    Result,
    SplitCounts,
)
from finetune_api.spec import Precision
from kwok import Exit

RUN = "0123456789abcdef"

PREPARED = Prepared(
    run=RUN,
    model_digest="m" * 16,
    data_uri="s3://models/triage/prepared/fedcba9876543210",
    data_digest="d" * 16,
    data=DataSummary(
        files=1,
        rows_read=100,
        rows_cleaned=3,
        rows_rejected=1,
        rows_removed=2,
        splits=SplitCounts(train=79, validation=9, test=9),
        train_tokens=40_000,
        trained_tokens=20_000,
    ),
    resolved=Resolved(
        total_steps=300,
        steps_per_epoch=100,
        global_batch_size=8,
        warmup_steps=9,
        precision=Precision.BFLOAT16,
        target_modules=("q_proj", "v_proj"),
    ),
)

PUBLISHED = Published(
    step=300,
    epoch=1,
    model_uri=f"s3://models/triage/runs/{RUN}/model",
    report_uri=f"s3://models/triage/runs/{RUN}/report.html",
    manifest_uri="s3://models/triage/manifest.json",
    manifest_sha256="a" * 16,
    metrics=Metrics(base_test_loss=4.0, test_loss=3.0, validation_loss=3.1, train_loss=2.9),
)


BAD_ROWS = Failure(
    reason="TooManyBadRows",
    message="7 of 100 rows are not valid: repair them or raise maxBadRowPercent",
    field="spec.data.maxBadRowPercent",
    places=("s3://raw/tickets.jsonl:3",),
)


def prepared(attempt: int = 1) -> Exit:
    """Data and model are ready."""
    return _exit(ExitCode.DONE, Result(stage=Stage.PREPARE, attempt=attempt, prepared=PREPARED))


def bad_rows() -> Exit:
    """The data is not worth a GPU."""
    return _exit(ExitCode.BAD_ROWS, Result(stage=Stage.PREPARE, attempt=1, failure=BAD_ROWS))


def reused() -> Exit:
    """This very run is already published."""
    known = PREPARED.model_copy(update={"published": PUBLISHED})
    return _exit(ExitCode.DONE, Result(stage=Stage.PREPARE, attempt=1, prepared=known))


def published(attempt: int = 1) -> Exit:
    """The model is published."""
    return _exit(ExitCode.DONE, Result(stage=Stage.TRAIN, attempt=attempt, published=PUBLISHED, checkpoint_step=300))


def crashed(checkpoint_step: int | None = None, attempt: int = 1) -> Exit:
    """A rank died; the launcher still said how far the last checkpoint reaches."""
    return _exit(1, Result(stage=Stage.TRAIN, attempt=attempt, checkpoint_step=checkpoint_step))


def _exit(code: int, result: Result) -> Exit:
    return Exit(code, result.encode().decode())
