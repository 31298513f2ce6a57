"""What a person reads while a job runs."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.progress import Activity, Progress
from finetune_api.result import DataSummary, Metrics, SplitCounts
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
from finetune_operator.apply import Event
from finetune_operator.cli.view import LiveView, PlainView, describe, duration, stages, view_for
from jobs import make_job

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DATA = DataSummary(
    files=1,
    rows_read=12_000,
    rows_cleaned=30,
    rows_rejected=10,
    rows_removed=20,
    splits=SplitCounts(train=9_576, validation=1_197, test=1_197),
    train_tokens=40_000,
    trained_tokens=20_000,
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


def said(job: FineTuneJob, stage: Stage = Stage.TRAIN, *, after: float = 0.0) -> str:
    (status,) = [each for each in stages(job) if each.stage is stage]
    return describe(job, status, START + timedelta(seconds=after))


def test_training_is_told_with_step_losses_rate_time_left_and_checkpoint() -> None:
    assert said(training()) == (
        "training, step 40 of 120, loss 3.214, validation 3.300, 1,412 tokens/s, 2:10 left, checkpoint at 30"
    )


def test_the_time_left_runs_on_between_two_readings_and_never_below_zero() -> None:
    assert "2:05 left" in said(training(), after=5)
    assert "0:00 left" in said(training(), after=500)


def test_a_rate_is_told_only_while_it_is_one() -> None:
    evaluating = PROGRESS.model_copy(update={"activity": Activity.EVALUATING})
    assert said(training(progress=evaluating)) == (
        "evaluating, step 40 of 120, loss 3.214, validation 3.300, checkpoint at 30"
    )


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (training(progress=None, message="waiting for a node"), "waiting for a node"),
        (training(progress=None), "starting"),
        (training(progress=PROGRESS.model_copy(update={"attempt": 1}), message="starting again"), "starting again"),
        (training(phase=Phase.RESTARTING, message="next attempt in 8 s"), "next attempt in 8 s"),
    ],
)
def test_what_the_attempt_before_said_is_not_told_of_this_one(job: FineTuneJob, expected: str) -> None:
    assert said(job) == expected


def test_a_prepared_job_tells_what_became_of_the_rows() -> None:
    assert said(training(), Stage.PREPARE) == (
        "12,000 rows in: 30 cleaned, 10 rejected, 20 removed → 9,576 train, 1,197 validation, 1,197 test"
    )


def test_a_trained_job_tells_its_test_loss() -> None:
    done = StageStatus(stage=Stage.TRAIN, state=StageState.SUCCEEDED)
    status = training().status.model_copy(update={"stages": (done,), "metrics": Metrics(test_loss=2.91)})
    assert said(make_job(status=status)) == "test loss 2.910"


def test_before_anything_began_both_stages_are_pending() -> None:
    assert [said(make_job(), stage) for stage in Stage] == ["pending", "pending"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3723, "1:02:03")])
def test_durations_read_as_clocks_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def plain(times: list[datetime]) -> tuple[PlainView, Callable[[], list[str]]]:
    """A view whose clock gives these times, the last for ever; and its lines without their times."""
    out = io.StringIO()
    left = list(times)
    view = PlainView(Console(file=out, width=300), lambda: left.pop(0) if len(left) > 1 else left[0])
    return view, lambda: [line.partition(" ")[2] for line in out.getvalue().splitlines()]


def at_step(step: int) -> FineTuneJob:
    return training(
        progress=Progress(stage=Stage.TRAIN, attempt=2, activity=Activity.TRAINING, step=step, total_steps=9)
    )


def test_plain_lines_come_when_the_activity_changes_and_otherwise_every_ten_seconds() -> None:
    view, lines = plain([START])
    view.show(at_step(1))
    view.show(at_step(2))
    evaluating = Progress(stage=Stage.TRAIN, attempt=2, activity=Activity.EVALUATING)
    view.show(training(progress=evaluating))
    assert lines()[1:] == ["Train: training, step 1 of 9", "Train: evaluating"]

    view, lines = plain([START, START, START + timedelta(seconds=11), START + timedelta(seconds=12)])
    view.show(at_step(1))
    view.show(at_step(1))
    view.show(at_step(2))
    view.show(at_step(3))
    assert [line for line in lines() if line.startswith("Train")] == [
        "Train: training, step 1 of 9",
        "Train: training, step 2 of 9",
    ]


def test_moments_and_notes_are_told_as_they_come() -> None:
    view, lines = plain([START])
    view.moment(Event(type="Warning", reason="Crashed", message="attempt 1 ended"))
    view.note("[stopping]")
    assert lines() == ["attempt 1 ended", "[stopping]"]


def test_a_terminal_gets_a_bar_and_moments_above_it() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, height=40, color_system=None)
    view = view_for(console, lambda: START + timedelta(seconds=83))
    assert isinstance(view, LiveView)
    with view:
        view.show(training())
        view.moment(Event(type="Normal", reason="TrainingStarted", message="attempt 2 runs"))
    told = out.getvalue()
    assert "attempt 2 runs" in told
    assert "triage  Training  1:23" in told
    assert "✓  Prepare  12,000 rows in" in told
    assert "━" in told
    assert "step 40 of 120" in told


def test_without_a_terminal_the_lines_are_plain() -> None:
    assert isinstance(view_for(Console(file=io.StringIO()), lambda: START), PlainView)
