"""Attempts: names, back-off, budget, progress, the ring of ten."""

from __future__ import annotations

from datetime import timedelta

import pytest

from finetune_api.contract import Stage
from finetune_api.result import Failure
from finetune_api.status import Attempt, Cause, StageState, StageStatus, Status
from finetune_operator.decide import attempts
from finetune_operator.decide.failure import Ending
from finetune_operator.observe import Observed
from jobs import UID, make_job
from observed import NOW, a_fine_tune_job, a_job, a_pod, ago, an_attempt, an_ended_attempt, ended, prepared_status

CRASH = Ending(cause=Cause.CRASHED, failure=Failure(reason="Crashed", message="a bug"))


def history(*causes: Cause, step: int | None = None, stage: Stage = Stage.TRAIN) -> tuple[Attempt, ...]:
    return tuple(
        an_ended_attempt(
            number,
            stage=stage,
            cause=cause,
            counted=cause not in (Cause.DISRUPTED, Cause.SUSPENDED, Cause.NODE_LOST, Cause.MICRO_BATCH_TOO_LARGE),
            checkpoint_step=step,
            finish_time=ago(100 - number),
        )
        for number, cause in enumerate(causes, start=1)
    )


def test_the_first_attempt_starts_the_job() -> None:
    status = attempts.begun(make_job(), Observed(), NOW)
    assert status.start_time == NOW
    assert status.attempts == (
        Attempt(stage=Stage.PREPARE, number=1, job_name="triage-5f0c1-prepare-1", start_time=NOW),
    )
    assert [(each.stage, each.state) for each in status.stages] == [
        (Stage.PREPARE, StageState.RUNNING),
        (Stage.TRAIN, StageState.PENDING),
    ]


def test_training_starts_with_its_own_first_attempt_and_not_again() -> None:
    prepared = (StageStatus(stage=Stage.PREPARE, state=StageState.SUCCEEDED, start_time=ago(100)),)
    pending = (*prepared, StageStatus(stage=Stage.TRAIN, state=StageState.PENDING))
    first = attempts.begun(a_fine_tune_job(prepared_status(stages=pending)), Observed(), ago(60))
    again = attempts.begun(a_fine_tune_job(first), Observed(), NOW)
    assert [each.start_time for each in again.stages] == [ago(100), ago(60)]


def test_a_later_attempt_leaves_the_start_of_the_job_where_it_was() -> None:
    job = a_fine_tune_job(prepared_status(*history(Cause.CRASHED), start_time=ago(3600)))
    assert attempts.begun(job, Observed(), NOW).start_time == ago(3600)


def test_a_number_that_any_job_bears_is_not_given_again() -> None:
    job = a_fine_tune_job(prepared_status(*history(Cause.CRASHED)))
    status = attempts.begun(job, Observed(jobs=(a_job(attempt=4),)), NOW)
    assert status.attempts[-1].job_name == "triage-5f0c1-train-5"


def test_only_the_latest_ten_are_kept() -> None:
    job = a_fine_tune_job(prepared_status(*history(*[Cause.DISRUPTED] * 10)))
    status = attempts.begun(job, Observed(), NOW)
    assert [attempt.number for attempt in status.attempts] == list(range(2, 12))


def test_the_longest_name_leaves_room_for_an_index() -> None:
    name = attempts.job_name("n" * 40, UID, Stage.PREPARE, 999)
    assert len(f"{name}-63") <= 63


def test_an_attempt_runs_when_all_its_pods_have_started() -> None:
    status = prepared_status(an_attempt(job_uid=None, running_time=None))
    half = attempts.seen(status, Observed(jobs=(a_job(),), pods=(a_pod(0),)), NOW)
    assert (half.attempts[0].job_uid, half.attempts[0].running_time) == ("job-1", None)
    both = attempts.seen(half, Observed(jobs=(a_job(),), pods=(a_pod(0), ended(1, 0))), NOW)
    assert both.attempts[0].running_time == NOW
    later = attempts.seen(both, Observed(jobs=(a_job(),), pods=(a_pod(0),)), NOW + timedelta(seconds=9))
    assert later.attempts[0].running_time == NOW


def test_the_end_of_an_attempt_is_written_down() -> None:
    end = Ending(cause=Cause.CRASHED, pod=ended(1, 139), checkpoint_step=40, failure=CRASH.failure)
    status = attempts.closed(a_fine_tune_job(), end, NOW)
    assert status.open_attempt is None
    assert status.attempts[0] == an_attempt(
        finish_time=NOW,
        cause=Cause.CRASHED,
        message="a bug",
        counted=True,
        exit_code=139,
        node="node-1",
        checkpoint_step=40,
    )
    assert status.restart_times == (NOW,)


@pytest.mark.parametrize(
    ("message", "field", "told"),
    [
        ("evicted", "spec.workers.resources.scratch", "evicted (spec.workers.resources.scratch)"),
        ("spec.data is bad", "spec.data", "spec.data is bad"),
        ("x" * 1024, "spec.data", "x" * 179 + "… (spec.data)"),
        ("x" * 1024, None, "x" * 191 + "…"),
    ],
)
def test_the_end_of_an_attempt_tells_what_to_change(message: str, field: str | None, told: str) -> None:
    end = Ending(cause=Cause.EVICTED, failure=Failure(reason="Evicted", message=message, field=field))
    assert attempts.closed(a_fine_tune_job(), end, NOW).attempts[0].message == told


def test_failures_leave_the_window() -> None:
    status = prepared_status(an_attempt(), restart_times=(ago(3600), ago(3599)))
    assert attempts.closed(a_fine_tune_job(status), CRASH, NOW).restart_times == (ago(3599), NOW)


@pytest.mark.parametrize(("earlier", "spent"), [(4, False), (5, False), (6, True)])
def test_the_budget_is_spent_by_one_more_failure_than_it_has_restarts(earlier: int, spent: bool) -> None:
    last = history(Cause.CRASHED, step=1)
    status = prepared_status(*last, restart_times=tuple(ago(60 + number) for number in range(earlier)))
    failure = attempts.enough(a_fine_tune_job(status), CRASH)
    assert (failure is not None) == spent
    if failure is not None:
        assert (failure.reason, failure.field) == ("RestartsSpent", "spec.restart.maxRestarts")
        assert failure.message == "failed 6 times within 3600 s; the last: a bug"


def test_a_spent_budget_names_the_field_of_the_last_failure() -> None:
    end = Ending(cause=Cause.CRASHED, failure=Failure(reason="X", message="m", field="spec.storage.endpoint"))
    status = prepared_status(*history(Cause.CRASHED), restart_times=tuple(ago(60) for _ in range(6)))
    failure = attempts.enough(a_fine_tune_job(status), end)
    assert failure is not None
    assert failure.field == "spec.storage.endpoint"


@pytest.mark.parametrize("cause", [Cause.OUT_OF_MEMORY, Cause.EVICTED])
def test_the_second_own_limit_in_a_row_ends_the_job(cause: Cause) -> None:
    end = Ending(cause=cause, failure=Failure(reason=cause, message="m", field="spec.workers.resources.memory"))
    once = a_fine_tune_job(prepared_status(*history(Cause.CRASHED, cause, step=1)))
    twice = a_fine_tune_job(prepared_status(*history(cause, cause, step=1)))
    assert attempts.enough(once, end) is None
    assert attempts.enough(twice, end) == end.failure


STREAKS = {
    "three without any": (history(*[Cause.CRASHED] * 3), True),
    "two without any": (history(*[Cause.CRASHED] * 2), False),
    "the first one made progress": (history(*[Cause.CRASHED] * 3, step=10), False),
    "three after the first": (history(*[Cause.CRASHED] * 4, step=10), True),
    "disruptions are passed over": (history(Cause.CRASHED, Cause.DISRUPTED, Cause.DISRUPTED, Cause.CRASHED), False),
    "and do not forgive": (history(Cause.CRASHED, Cause.DISRUPTED, Cause.CRASHED, Cause.CRASHED), True),
}


@pytest.mark.parametrize(("ended_attempts", "fruitless"), STREAKS.values(), ids=STREAKS)
def test_three_counted_failures_without_a_newer_checkpoint_are_enough(
    ended_attempts: tuple[Attempt, ...], fruitless: bool
) -> None:
    failure = attempts.enough(a_fine_tune_job(prepared_status(*ended_attempts)), CRASH)
    assert (failure is not None and failure.reason == "NoProgress") == fruitless


def test_preparation_has_no_checkpoints_to_wait_for() -> None:
    status = Status(attempts=history(*[Cause.CRASHED] * 3, stage=Stage.PREPARE))
    assert attempts.enough(a_fine_tune_job(status), CRASH) is None


def delay_after(*causes: Cause, uid: str = UID) -> float | None:
    job = make_job(metadata={"uid": uid}, status=prepared_status(*history(*causes)))
    at = attempts.starts_at(job)
    finish_time = job.status.attempts[-1].finish_time
    assert finish_time is not None
    return None if at is None else (at - finish_time).total_seconds()


def test_the_first_restart_is_immediate() -> None:
    assert delay_after(Cause.CRASHED) is None


@pytest.mark.parametrize(("failures", "seconds"), [(2, 10), (3, 20), (4, 40), (6, 160), (7, 300), (10, 300)])
def test_later_restarts_back_off_give_or_take_a_quarter(failures: int, seconds: float) -> None:
    delay = delay_after(*[Cause.CRASHED] * failures)
    assert delay is not None
    assert 0.75 * seconds <= delay <= 1.25 * seconds


def test_a_storm_of_disruptions_backs_off_too() -> None:
    assert delay_after(Cause.DISRUPTED, Cause.DISRUPTED) is not None


def test_what_was_suspended_comes_back_at_once() -> None:
    assert delay_after(Cause.CRASHED, Cause.CRASHED, Cause.SUSPENDED) is None


def test_half_the_micro_batch_is_tried_at_once() -> None:
    assert delay_after(Cause.CRASHED, Cause.CRASHED, Cause.MICRO_BATCH_TOO_LARGE) is None
    assert delay_after(Cause.MICRO_BATCH_TOO_LARGE, Cause.MICRO_BATCH_TOO_LARGE, Cause.CRASHED) is None


def test_however_often_the_micro_batch_was_halved_the_trainer_says_when_it_is_enough() -> None:
    end = Ending(cause=Cause.MICRO_BATCH_TOO_LARGE, failure=Failure(reason="MicroBatchTooLarge", message="m"))
    tried = history(Cause.CRASHED, *[Cause.MICRO_BATCH_TOO_LARGE] * 9)
    assert attempts.enough(a_fine_tune_job(prepared_status(*tried)), end) is None


def test_suspensions_before_a_failure_do_not_make_it_wait() -> None:
    assert delay_after(Cause.SUSPENDED, Cause.SUSPENDED, Cause.CRASHED) is None


def test_jobs_that_fell_together_do_not_come_back_together() -> None:
    delays = {delay_after(Cause.CRASHED, Cause.CRASHED, uid=f"{number:08x}") for number in range(20)}
    assert len(delays) > 15


def test_the_stage_that_is_due_is_training_once_preparation_succeeded() -> None:
    assert attempts.stage_to_run(Status()) is Stage.PREPARE
    assert attempts.stage_to_run(prepared_status()) is Stage.TRAIN


@pytest.mark.parametrize(
    ("observed", "clear"),
    [
        (Observed(), True),
        (Observed(pods=(ended(0, 1), a_pod(1, gone=True))), True),
        (Observed(pods=(a_pod(0),)), False),
        (Observed(jobs=(a_job(),)), False),
        (Observed(jobs=(a_job(finished=True),)), True),
        (Observed(jobs=(a_job(failing=True),)), True),
    ],
)
def test_nothing_may_still_run_before_the_next_attempt(observed: Observed, clear: bool) -> None:
    assert attempts.is_clear(observed) is clear
