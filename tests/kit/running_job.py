"""A job in the middle of its training, as a terminal shows it."""

from __future__ import annotations

from datetime import UTC, datetime

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.progress import Activity, Progress
from finetune_api.result import SplitCounts
from finetune_api.status import (
    Attempt,
    Condition,
    ConditionStatus,
    ConditionType,
    Phase,
    StageState,
    StageStatus,
    Status,
)
from jobs import make_job
from results import PREPARED, but

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DATA = but(
    PREPARED.data,
    rows_read=12_000,
    rows_cleaned=30,
    rows_rejected=10,
    rows_removed=20,
    splits=SplitCounts(train=9_576, validation=1_197, test=1_197),
)
PROGRESS = Progress(
    stage=Stage.TRAIN,
    attempt=2,
    activity=Activity.TRAINING,
    step=40,
    total_steps=120,
    loss=3.21449,
    validation_loss=3.3,
    tokens_per_second=1412.4,
    seconds_left=130,
    checkpoint_step=30,
)


def training(*, progress: Progress | None = PROGRESS, message: str = "", phase: Phase = Phase.TRAINING) -> FineTuneJob:
    summary = Condition(
        type=ConditionType.SUCCEEDED,
        status=ConditionStatus.UNKNOWN,
        reason="InProgress",
        message=message,
        last_transition_time=START,
        observed_generation=1,
    )
    return make_job(
        status=Status(
            phase=phase,
            conditions=(summary,),
            start_time=START,
            stages=(
                StageStatus(stage=Stage.PREPARE, state=StageState.SUCCEEDED),
                StageStatus(stage=Stage.TRAIN, state=StageState.RUNNING),
            ),
            attempts=(Attempt(stage=Stage.TRAIN, number=2, job_name="triage-train-2", start_time=START),),
            data=DATA,
            progress=progress,
            progress_time=START,
        )
    )
