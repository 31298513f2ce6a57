"""One stage of a job in one line."""

from __future__ import annotations

from datetime import timedelta

import pytest

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.progress import Activity
from finetune_api.result import Metrics
from finetune_api.status import (
    Phase,
    StageState,
    StageStatus,
)
from finetune_operator.cli.view import describe, duration, stages
from jobs import make_job
from running_job import PROGRESS, START, training


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


def test_a_trained_classifier_tells_its_accuracy() -> None:
    done = StageStatus(stage=Stage.TRAIN, state=StageState.SUCCEEDED)
    metrics = Metrics(test_loss=0.31, test_accuracy=0.9042, test_macro_f1=0.9)
    status = training().status.model_copy(update={"stages": (done,), "metrics": metrics})
    assert said(make_job(status=status)) == "test accuracy 90.4%"


def test_a_trained_job_tells_its_test_loss() -> None:
    done = StageStatus(stage=Stage.TRAIN, state=StageState.SUCCEEDED)
    status = training().status.model_copy(update={"stages": (done,), "metrics": Metrics(test_loss=2.91)})
    assert said(make_job(status=status)) == "test loss 2.910"


def test_before_anything_began_both_stages_are_pending() -> None:
    assert [said(make_job(), stage) for stage in Stage] == ["pending", "pending"]


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (61.9, "1:01"), (3723, "1:02:03")])
def test_durations_read_as_clocks_do(seconds: float, text: str) -> None:
    assert duration(seconds) == text
