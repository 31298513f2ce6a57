"""Deadlines: what has waited too long, and when to look again though nothing happens."""

from __future__ import annotations

from datetime import datetime, timedelta

from finetune_api.job import FineTuneJob
from finetune_api.result import Failure
from finetune_api.status import Attempt, Cause, ConditionType, Status
from finetune_operator.decide.admission import held_back
from finetune_operator.decide.attempts import starts_at
from finetune_operator.decide.conditions import FALSE, TRUE, condition, is_finished
from finetune_operator.decide.failure import FORCE_AFTER, Ending
from finetune_operator.decide.gang import job_of, pods_of, runs
from finetune_operator.decide.reasons import Reason
from finetune_operator.decide.waiting import pods_late_at, waiting
from finetune_operator.observe import JobObserved, Observed

SILENT_AFTER = timedelta(seconds=60)
"""Without progress for so long, the status says so."""
_SOONEST = 1.0
_OVERDUE = 5.0
"""What should have happened by now was asked for and is under way."""
_RETRY_LATEST = 60.0
_RIVALS_CHECKED = timedelta(seconds=30)
"""Nothing tells a job that another one has ended."""


def expired(job: FineTuneJob, observed: Observed, now: datetime) -> Failure | None:
    """The deadline that ends the whole job."""
    deadlines = job.spec.deadlines
    if (at := _active_until(job)) and now >= at:
        return Failure(
            reason=Reason.DEADLINE_EXCEEDED,
            message=f"not finished {deadlines.active_seconds} s after its start",
            field="spec.deadlines.activeSeconds",
        )
    child = _open_job(job, observed)
    if child and (at := _queued_until(job, child)) and now >= at:
        held = held_back(child, observed)
        return Failure(
            reason=Reason.QUEUE_DEADLINE,
            message=f"not admitted by its queue within {deadlines.pending_seconds} s: {held.message}"[:1024],
            field=held.field or "spec.deadlines.pendingSeconds",
        )
    return None


def start_expired(job: FineTuneJob, observed: Observed, now: datetime) -> Ending | None:
    """The open attempt's end when its pods have not all come to run in time."""
    attempt = job.status.open_attempt
    at = _start_until(job, observed)
    if attempt is None or at is None or now < at:
        return None
    missing = waiting(attempt, job, observed, now)
    message = f"not all pods ran within {job.spec.deadlines.start_seconds} s: {missing.message}"
    return Ending(
        cause=Cause.START_DEADLINE,
        failure=Failure(
            reason=missing.reason if missing.reason is not Reason.STARTING else Reason.START_DEADLINE,
            message=message[:1024],
            field=missing.field or "spec.deadlines.startSeconds",
        ),
    )


def next_look(job: FineTuneJob, observed: Observed, now: datetime) -> float | None:
    """Seconds until time alone changes something; `job` carries the status just decided. None: events will tell."""
    if is_finished(job.status) and not any(pod.live for pod in observed.pods):
        return None
    child = _open_job(job, observed)
    times = [
        _active_until(job),
        _queued_until(job, child) if child else None,
        _start_until(job, observed),
        _told_at(job, observed, now),
        starts_at(job) if job.status.open_attempt is None and not job.spec.suspend else None,
        at if (at := silent_from(job.status)) and at > now else None,
        _retried_at(job, observed, now),
        _asked_again_at(job, observed, now),
        *(pod.deletion_time + FORCE_AFTER for pod in observed.pods if pod.live and pod.deletion_time),
    ]
    due = [(time - now).total_seconds() for time in times if time is not None]
    return min((max(_SOONEST, seconds) if seconds > 0 else _OVERDUE for seconds in due), default=None)


def silent_from(status: Status) -> datetime | None:
    """When rank 0 of running pods counts as unheard; None while they do not run."""
    running = condition(status, ConditionType.RUNNING)
    if running is None or running.status is not TRUE:
        return None
    heard = status.progress_time or running.last_transition_time
    return max(running.last_transition_time, heard) + SILENT_AFTER


def _active_until(job: FineTuneJob) -> datetime | None:
    seconds, start = job.spec.deadlines.active_seconds, job.status.start_time
    if seconds is None or start is None or is_finished(job.status):
        return None
    return start + timedelta(seconds=seconds)


def _queued_until(job: FineTuneJob, child: JobObserved) -> datetime | None:
    seconds, admitted = job.spec.deadlines.pending_seconds, condition(job.status, ConditionType.ADMITTED)
    if seconds is None or not child.suspended or admitted is None or admitted.status is not FALSE:
        return None
    return admitted.last_transition_time + timedelta(seconds=seconds)


def _start_until(job: FineTuneJob, observed: Observed) -> datetime | None:
    attempt, child = job.status.open_attempt, _open_job(job, observed)
    if attempt is None or job.spec.suspend or job.spec.cancel:
        return None
    # Of a Job that is being stopped some pods are gone before the others: late is not what it is.
    if child is not None and (child.failing or child.deletion_time or runs(child, pods_of(attempt, observed))):
        return None
    since = _admitted_at(job.status, attempt, child)
    if since is None or (attempt.running_time is not None and attempt.running_time >= since):
        return None
    return since + timedelta(seconds=job.spec.deadlines.start_seconds)


def _admitted_at(status: Status, attempt: Attempt, child: JobObserved | None) -> datetime | None:
    """From when the attempt may run; None while it is queued, or when that has only just ended."""
    if child is not None and child.suspended:
        return None
    admitted = condition(status, ConditionType.ADMITTED)
    if child is None or admitted is None or admitted.status not in (TRUE, FALSE):
        return attempt.start_time
    return max(attempt.start_time, admitted.last_transition_time) if admitted.status is TRUE else None


def _told_at(job: FineTuneJob, observed: Observed, now: datetime) -> datetime | None:
    """When time alone changes what there is to explain."""
    attempt = job.status.open_attempt
    late = pods_late_at(attempt, observed) if attempt else None
    times = [late if late and late > now else None, now + _RIVALS_CHECKED if observed.rivals else None]
    return min((time for time in times if time is not None), default=None)


def _retried_at(job: FineTuneJob, observed: Observed, now: datetime) -> datetime | None:
    """A refused child is asked for again."""
    attempt = job.status.open_attempt
    if observed.refusal is None or attempt is None:
        return None
    return _later(now, since=attempt.start_time)


def _asked_again_at(job: FineTuneJob, observed: Observed, now: datetime) -> datetime | None:
    """What Kueue says of a Job that waits is no event for us."""
    child, said = _open_job(job, observed), condition(job.status, ConditionType.ADMITTED)
    if observed.workloads is None or child is None or not child.suspended or said is None:
        return None
    return _later(now, since=said.last_transition_time)


def _later(now: datetime, *, since: datetime) -> datetime:
    """Soon at first, then once a minute."""
    return now + timedelta(seconds=min(_RETRY_LATEST, max(_SOONEST, (now - since).total_seconds() / 2)))


def _open_job(job: FineTuneJob, observed: Observed) -> JobObserved | None:
    attempt = job.status.open_attempt
    return job_of(attempt, observed) if attempt else None
