"""Whether a queue lets a Job run, and if not, why: in the queue's own words where they are known."""

from __future__ import annotations

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.status import Attempt, Cause, ConditionType
from finetune_operator.decide.conditions import FALSE, TRUE, UNKNOWN, State, condition, told
from finetune_operator.decide.gang import job_of
from finetune_operator.decide.obstacle import Obstacle
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import JobObserved, Observed, WorkloadObserved

_INADMISSIBLE = frozenset({"Inadmissible", "Misconfigured", "Suspended", "ExceedsMaxQuota", "NoMatchingFlavor"})
"""Kueue's reasons that time alone does not change: a queue that is missing or stopped, more than it could ever give."""
_FIELDS = {Stage.PREPARE: "spec.scheduling.prepareQueueName", Stage.TRAIN: "spec.scheduling.queueName"}


def admitted(job: FineTuneJob, observed: Observed) -> State:
    """Of an unfinished job."""
    attempt = job.status.open_attempt
    child = job_of(attempt, observed) if attempt else None
    if attempt is None or child is None:
        return State(UNKNOWN, Reason.PENDING)
    if not child.suspended:
        return State(TRUE, Reason.ADMITTED if child.queue else Reason.NOT_QUEUED)
    held = held_back(child, observed)
    return State(FALSE, _requeued(job, attempt, held.reason), told(held.message, held.field))


def was_admitted(job: FineTuneJob) -> State:
    """At the end of a job. From what lasts, not from what this operator happened to see on the way."""
    last = job.status.attempts[-1] if job.status.attempts else None
    if last is not None and (last.running_time is not None or last.cause is Cause.COMPLETED):
        queues = job.spec.scheduling
        queue = queues.queue_name if last.stage is Stage.TRAIN else queues.prepare_queue_name
        return State(TRUE, Reason.ADMITTED if queue else Reason.NOT_QUEUED)
    said = condition(job.status, ConditionType.ADMITTED)
    return State(FALSE, said.reason, said.message) if said and said.status is FALSE else State(UNKNOWN, Reason.PENDING)


def held_back(child: JobObserved, observed: Observed) -> Obstacle:
    """Why a suspended Job waits."""
    waits = f"waits in queue {child.queue}" if child.queue else "is suspended, not by us"
    workload = next((each for each in observed.workloads or () if each.job_uid == child.uid), None)
    words = f": {workload.message}" if workload and workload.message else ""
    reason = _reason(workload)
    field = _FIELDS[child.stage] if reason is Reason.INADMISSIBLE else None
    return Obstacle(reason, f"Job {child.name} {waits}{words}", field)


def _reason(workload: WorkloadObserved | None) -> Reason:
    if workload is None:
        return Reason.QUEUED
    if workload.reason in _INADMISSIBLE or not workload.active:
        return Reason.INADMISSIBLE
    return Reason.PREEMPTED if workload.evicted == "Preempted" else Reason.QUEUED


def _requeued(job: FineTuneJob, attempt: Attempt, reason: Reason) -> Reason:
    """Another attempt is another Workload, without the place in the queue that the one before had."""
    again = any(each.counted and each.stage is attempt.stage for each in job.status.attempts)
    return Reason.REQUEUED_AFTER_FAILURE if again and reason is Reason.QUEUED else reason
