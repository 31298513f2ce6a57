"""What the stages of one small job say when all goes well, and variations of it."""

from __future__ import annotations

from typing import Any, TypeVar

from finetune_api.model import Model
from finetune_api.result import DataSummary, Metrics, Prepared, Published, Resolved, SplitCounts
from finetune_api.spec import Precision

M = TypeVar("M", bound=Model)

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
        learning_rate=2e-4,
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


def but(model: M, **fields: Any) -> M:
    """`model` with other values in these fields, validated like any other.

    but(PREPARED.data, rows_rejected=7)
    """
    return type(model)(**{**dict(model), **fields})
