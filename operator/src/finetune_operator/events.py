"""The moments in a job's life that `kubectl describe` tells: what changed from one status to the next."""

from __future__ import annotations

from collections.abc import Iterator

from finetune_api.contract import Stage
from finetune_api.result import Failure
from finetune_api.status import Attempt, Cause, Condition, ConditionStatus, ConditionType, Status
from finetune_operator.apply import Event
from finetune_operator.decide.conditions import condition
from finetune_operator.decide.reasons import OBSTACLES, Reason

_NORMAL = "Normal"
_WARNING = "Warning"
_INTENDED = frozenset({Cause.COMPLETED, Cause.SUSPENDED, Cause.CANCELLED})
"""Ends of an attempt that another moment tells, or that nobody needs to hear of."""
_QUEUED = frozenset({Reason.QUEUED, Reason.INADMISSIBLE, Reason.PREEMPTED, Reason.REQUEUED_AFTER_FAILURE})


def moments(before: Status, after: Status) -> list[Event]:
    """Each change once, in the order in which a person would tell it."""
    told = (_ends, _stages, _starts, _waits, _outcome)
    return [event for moment in told for event in moment(before, after)]


def newer_status(problem: Failure) -> Event:
    """For a status that cannot be read; `problem` names the field, below `status`."""
    message = (
        f"The status holds what this version does not know (status.{problem.message}), so the job is left as it is: "
        "upgrade finetune-operator."
    )
    return Event(type=_WARNING, reason=Reason.STATUS_UNREADABLE, message=message)


def _ends(before: Status, after: Status) -> Iterator[Event]:
    for earlier, attempt in _pairs(before, after):
        ended = attempt.finish_time is not None and (earlier is None or earlier.finish_time is None)
        if ended and attempt.cause is not None and attempt.cause not in _INTENDED:
            why = f": {attempt.message}" if attempt.message else "."
            message = f"{_name(attempt)} ended{_details(attempt)}{why}"
            yield Event(type=_WARNING, reason=attempt.cause.value, message=message)


def _stages(before: Status, after: Status) -> Iterator[Event]:
    if prepared := _turned(before, after, ConditionType.PREPARED, ConditionStatus.TRUE):
        kind = _WARNING if prepared.reason == Reason.FEW_STEPS else _NORMAL
        yield Event(type=kind, reason="Prepared", message=prepared.message)
    if suspended := _turned(before, after, ConditionType.SUSPENDED, ConditionStatus.TRUE):
        yield Event(type=_NORMAL, reason="Suspended", message=suspended.message)
    if _was(before, ConditionType.SUSPENDED, ConditionStatus.TRUE):
        resumed = _turned(before, after, ConditionType.SUSPENDED, ConditionStatus.FALSE)
        if resumed and not _was(after, ConditionType.FINISHED, ConditionStatus.TRUE):
            yield Event(type=_NORMAL, reason="Resumed", message=resumed.message)


def _starts(before: Status, after: Status) -> Iterator[Event]:
    for earlier, attempt in _pairs(before, after):
        if earlier is None:
            first = attempt.number == 1
            reason = ("Preparing" if attempt.stage == Stage.PREPARE else "Starting") if first else "Restarting"
            yield Event(type=_NORMAL, reason=reason, message=f"{_name(attempt)} is Job {attempt.job_name}.")
        started = attempt.running_time is not None and (earlier is None or earlier.running_time is None)
        if started and attempt.stage == Stage.TRAIN:
            yield Event(type=_NORMAL, reason="TrainingStarted", message=f"{_name(attempt)} runs on all its nodes.")


def _waits(before: Status, after: Status) -> Iterator[Event]:
    obstacle = condition(after, ConditionType.RUNNING)
    if obstacle and obstacle.reason in OBSTACLES and obstacle.reason != _reason(before, ConditionType.RUNNING):
        yield Event(type=_WARNING, reason=obstacle.reason, message=obstacle.message)
    outlook = condition(after, ConditionType.SUCCEEDED)
    if outlook and outlook.reason == Reason.OUTPUT_SHARED != _reason(before, ConditionType.SUCCEEDED):
        yield Event(type=_WARNING, reason=outlook.reason, message=outlook.message)
    queue = condition(after, ConditionType.ADMITTED)
    if queue and queue.reason in _QUEUED and queue.reason != _reason(before, ConditionType.ADMITTED):
        yield Event(type=_NORMAL, reason=queue.reason, message=queue.message)


def _outcome(before: Status, after: Status) -> Iterator[Event]:
    finished = _turned(before, after, ConditionType.FINISHED, ConditionStatus.TRUE)
    if finished is None:
        return
    if _was(after, ConditionType.SUCCEEDED, ConditionStatus.TRUE):
        yield Event(type=_NORMAL, reason="Succeeded", message=finished.message)
    elif after.failure is not None:
        field = f" ({after.failure.field})" if after.failure.field else ""
        yield Event(type=_WARNING, reason="Failed", message=f"{after.failure.reason}: {after.failure.message}{field}")
    else:
        yield Event(type=_NORMAL, reason=finished.reason, message=finished.message)


def _pairs(before: Status, after: Status) -> Iterator[tuple[Attempt | None, Attempt]]:
    earlier = {(attempt.stage, attempt.number): attempt for attempt in before.attempts}
    for attempt in after.attempts:
        yield earlier.get((attempt.stage, attempt.number)), attempt


def _reason(status: Status, wanted: ConditionType) -> str | None:
    found = condition(status, wanted)
    return found.reason if found else None


def _was(status: Status, wanted: ConditionType, value: ConditionStatus) -> bool:
    found = condition(status, wanted)
    return found is not None and found.status == value


def _turned(before: Status, after: Status, wanted: ConditionType, value: ConditionStatus) -> Condition | None:
    if _was(before, wanted, value) or not _was(after, wanted, value):
        return None
    return condition(after, wanted)


def _name(attempt: Attempt) -> str:
    return f"{attempt.stage.value} attempt {attempt.number}"


def _details(attempt: Attempt) -> str:
    code = f" with exit code {attempt.exit_code}" if attempt.exit_code is not None else ""
    node = f" on {attempt.node}" if attempt.node else ""
    step = f", last checkpoint at step {attempt.checkpoint_step}" if attempt.checkpoint_step is not None else ""
    counted = "" if attempt.counted else ", not counted as a restart"
    return code + node + step + counted
