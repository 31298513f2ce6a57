"""Each change of a status is told once, and an unchanged status tells nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from finetune_api.contract import Stage
from finetune_api.result import Failure
from finetune_api.status import (
    Attempt,
    Cause,
    Condition,
    ConditionStatus,
    ConditionType,
    Status,
)
from finetune_operator.apply import Event
from finetune_operator.events import moments

START = datetime(2026, 1, 1, tzinfo=UTC)


def attempt(stage: Stage, number: int = 1, **values: Any) -> Attempt:
    return Attempt(stage=stage, number=number, job_name=f"triage-{stage.lower()}-{number}", start_time=START, **values)


def conditions(*, reason: str = "Reason", message: str = "A sentence.", **values: bool | None) -> tuple[Condition, ...]:
    """`prepared=True` makes the condition Prepared true, `prepared=None` unknown."""
    status = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE, None: ConditionStatus.UNKNOWN}
    return tuple(
        Condition(
            type=ConditionType(name.capitalize()),
            status=status[value],
            reason=reason,
            message=message,
            last_transition_time=START,
            observed_generation=1,
        )
        for name, value in values.items()
    )


def normal(reason: str, message: str) -> Event:
    return Event(type="Normal", reason=reason, message=message)


def warning(reason: str, message: str) -> Event:
    return Event(type="Warning", reason=reason, message=message)


def test_a_new_job_tells_that_preparation_begins() -> None:
    after = Status(attempts=(attempt(Stage.PREPARE),), conditions=conditions(prepared=False, suspended=False))
    assert moments(Status(), after) == [normal("Preparing", "Prepare attempt 1 is Job triage-prepare-1.")]


def test_the_end_of_preparation_and_the_first_training_job_come_together() -> None:
    done = attempt(Stage.PREPARE, finish_time=START, cause=Cause.COMPLETED)
    before = Status(attempts=(attempt(Stage.PREPARE),), conditions=conditions(prepared=False))
    after = Status(
        attempts=(done, attempt(Stage.TRAIN)), conditions=conditions(prepared=True, message="1000 rows, 4 rejected.")
    )
    assert moments(before, after) == [
        normal("Prepared", "1000 rows, 4 rejected."),
        normal("Starting", "Train attempt 1 is Job triage-train-1."),
    ]


def test_training_has_started_when_all_pods_run() -> None:
    before = Status(attempts=(attempt(Stage.TRAIN),))
    after = Status(attempts=(attempt(Stage.TRAIN, running_time=START),))
    assert moments(before, after) == [normal("TrainingStarted", "Train attempt 1 runs on all its nodes.")]


def test_the_end_of_an_attempt_names_cause_code_node_and_checkpoint() -> None:
    before = Status(attempts=(attempt(Stage.TRAIN, running_time=START),))
    ended = attempt(
        Stage.TRAIN,
        running_time=START,
        finish_time=START,
        cause=Cause.CRASHED,
        exit_code=1,
        node="gpu-3",
        checkpoint_step=200,
        counted=True,
    )
    assert moments(before, Status(attempts=(ended,))) == [
        warning("Crashed", "Train attempt 1 ended with exit code 1 on gpu-3, last checkpoint at step 200.")
    ]


def test_the_end_of_an_attempt_says_what_would_help() -> None:
    before = Status(attempts=(attempt(Stage.PREPARE),))
    message = "no usable answer from https://s3.example in 30 s (spec.storage.endpoint)"
    ended = attempt(Stage.PREPARE, finish_time=START, cause=Cause.CRASHED, exit_code=75, counted=True, message=message)
    assert moments(before, Status(attempts=(ended,))) == [
        warning("Crashed", f"Prepare attempt 1 ended with exit code 75: {message}")
    ]


def test_a_disruption_is_told_and_said_not_to_count() -> None:
    before = Status(attempts=(attempt(Stage.TRAIN),))
    after = Status(attempts=(attempt(Stage.TRAIN, finish_time=START, cause=Cause.DISRUPTED),))
    assert moments(before, after) == [warning("Disrupted", "Train attempt 1 ended, not counted as a restart.")]


@pytest.mark.parametrize("cause", [Cause.COMPLETED, Cause.SUSPENDED, Cause.CANCELLED])
def test_an_intended_end_of_an_attempt_is_no_moment_of_its_own(cause: Cause) -> None:
    before = Status(attempts=(attempt(Stage.TRAIN),))
    after = Status(attempts=(attempt(Stage.TRAIN, finish_time=START, cause=cause),))
    assert moments(before, after) == []


def test_a_later_attempt_is_a_restart() -> None:
    first = attempt(Stage.TRAIN, finish_time=START, cause=Cause.CRASHED)
    before = Status(attempts=(first,))
    after = Status(attempts=(first, attempt(Stage.TRAIN, 2)))
    assert moments(before, after) == [normal("Restarting", "Train attempt 2 is Job triage-train-2.")]


def test_suspending_and_resuming_are_told() -> None:
    running = Status(conditions=conditions(suspended=False, message="Resumed."))
    suspended = Status(conditions=conditions(suspended=True, message="No pods are left."))
    assert moments(running, suspended) == [normal("Suspended", "No pods are left.")]
    assert moments(suspended, running) == [normal("Resumed", "Resumed.")]


def test_a_suspended_job_that_is_cancelled_does_not_resume() -> None:
    suspended = Status(conditions=conditions(suspended=True, finished=False))
    cancelled = Status(
        conditions=conditions(suspended=False, finished=True, succeeded=False, reason="Cancelled", message="As asked.")
    )
    assert moments(suspended, cancelled) == [normal("Cancelled", "As asked.")]


def test_success_says_where_the_model_lies() -> None:
    after = Status(
        conditions=conditions(finished=True, succeeded=True, message="published at s3://models/triage/model")
    )
    assert moments(Status(conditions=conditions(finished=False)), after) == [
        normal("Succeeded", "published at s3://models/triage/model")
    ]


def test_failure_names_the_field_to_change() -> None:
    after = Status(
        conditions=conditions(finished=True, succeeded=False, stalled=True),
        failure=Failure(reason="EmptyData", message="No rows are left.", field="spec.data.sources"),
    )
    assert moments(Status(), after) == [warning("Failed", "EmptyData: No rows are left. (spec.data.sources)")]


@pytest.mark.parametrize("reason", ["Refused", "NameTaken", "Unschedulable", "ImagePull", "ContainerConfig"])
def test_what_keeps_pods_from_running_is_a_warning_once(reason: str) -> None:
    starting = Status(conditions=conditions(running=False, reason="Starting"))
    stuck = Status(conditions=conditions(running=False, reason=reason, message="Something is missing."))
    assert moments(starting, stuck) == [warning(reason, "Something is missing.")]
    assert moments(stuck, stuck) == []


def test_an_output_that_another_job_writes_too_is_told_once() -> None:
    alone = Status(conditions=conditions(succeeded=None, reason="Training"))
    shared = Status(conditions=conditions(succeeded=None, reason="OutputShared", message="b has the same output"))
    assert moments(alone, shared) == [warning("OutputShared", "b has the same output")]
    assert moments(shared, shared) == moments(shared, alone) == []


def test_entering_the_queue_is_told() -> None:
    before = Status(conditions=conditions(admitted=False, reason="Pending"))
    queued = Status(conditions=conditions(admitted=False, reason="Queued", message="In queue gpus."))
    again = Status(conditions=conditions(admitted=False, reason="RequeuedAfterFailure", message="At the back."))
    assert moments(before, queued) == [normal("Queued", "In queue gpus.")]
    assert moments(queued, again) == [normal("RequeuedAfterFailure", "At the back.")]


def test_nothing_is_told_twice_or_for_times_that_merely_pass() -> None:
    status = Status(
        attempts=(
            attempt(Stage.PREPARE, finish_time=START, cause=Cause.COMPLETED),
            attempt(Stage.TRAIN, running_time=START, finish_time=START, cause=Cause.CRASHED),
        ),
        conditions=conditions(prepared=True, suspended=False, finished=True, succeeded=True),
    )
    assert moments(status, status) == []
    later = status.model_copy(update={"progress_time": START + timedelta(seconds=15)})
    assert moments(status, later) == []
