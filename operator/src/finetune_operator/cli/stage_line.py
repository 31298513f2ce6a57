"""One stage of a job in one line: what it is doing, or what it has brought."""

from __future__ import annotations

from datetime import datetime

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.progress import Activity, Progress
from finetune_api.result import DataSummary
from finetune_api.status import ConditionType, Phase, StageState, StageStatus
from finetune_operator.decide.conditions import condition


def stages(job: FineTuneJob) -> tuple[StageStatus, ...]:
    """Both, also before the first has begun."""
    known = {stage.stage: stage for stage in job.status.stages}
    return tuple(known.get(stage, StageStatus(stage=stage, state=StageState.PENDING)) for stage in Stage)


def describe(job: FineTuneJob, stage: StageStatus, now: datetime) -> str:
    """One stage in one line."""
    status = job.status
    if stage.state is StageState.SUCCEEDED:
        return describe_end(job, stage)
    if stage.state is not StageState.RUNNING:
        return stage.state.value.lower()
    progress = status.progress
    attempt = status.attempts[-1] if status.attempts else None
    stale = progress is None or attempt is None or (progress.stage, progress.attempt) != (attempt.stage, attempt.number)
    if progress is None or stale or status.phase is Phase.RESTARTING:
        summary = condition(status, ConditionType.SUCCEEDED)
        return summary.message if summary is not None and summary.message else "starting"
    age = 0.0 if status.progress_time is None else (now - status.progress_time).total_seconds()
    return ", ".join(readings(progress, age))


def describe_end(job: FineTuneJob, stage: StageStatus) -> str:
    """What a stage that succeeded has brought."""
    status = job.status
    if stage.stage is Stage.PREPARE and status.data is not None:
        return rows(status.data)
    metrics = status.metrics
    if metrics is None or metrics.test_loss is None:
        return "done"
    if metrics.test_accuracy is not None and metrics.test_macro_f1 is not None:
        return f"test accuracy {metrics.test_accuracy:.1%}"
    return f"test loss {metrics.test_loss:.3f}"


def rows(data: DataSummary) -> str:
    """What became of the raw rows, in one line."""
    splits = data.splits
    return (
        f"{data.rows_read:,} rows in: {data.rows_cleaned:,} cleaned, {data.rows_rejected:,} rejected, "
        f"{data.rows_removed:,} removed → {splits.train:,} train, {splits.validation:,} validation, "
        f"{splits.test:,} test"
    )


def readings(progress: Progress, age: float) -> list[str]:
    """What is known of a stage that runs; `age` is how many seconds ago it said so."""
    found = [progress.activity.value.lower()]
    if progress.rows_read is not None:
        found.append(f"{progress.rows_read:,} rows")
    if progress.bytes_fetched is not None and progress.bytes_total and progress.activity is Activity.STARTING:
        share = progress.bytes_fetched / progress.bytes_total
        found.append(f"{share:.0%} of the base model's {progress.bytes_total / 1e9:.1f} GB here")
    if progress.step is not None and progress.total_steps is not None:
        found.append(f"step {progress.step:,} of {progress.total_steps:,}")
    if progress.loss is not None:
        found.append(f"loss {progress.loss:.3f}")
    if progress.validation_loss is not None:
        found.append(f"validation {progress.validation_loss:.3f}")
    if progress.tokens_per_second is not None and progress.activity is Activity.TRAINING:
        found.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if progress.seconds_left is not None and progress.activity is Activity.TRAINING:
        found.append(f"{duration(max(0.0, progress.seconds_left - age))} left")
    if progress.checkpoint_step is not None:
        found.append(f"checkpoint at {progress.checkpoint_step:,}")
    return found


def duration(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
