"""What keeps an attempt from running: a child that is refused, pods that are not made, not placed or not started."""

from __future__ import annotations

from datetime import datetime, timedelta

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.spec import Spec
from finetune_api.status import Attempt, ConditionType, Status
from finetune_operator.decide.conditions import condition
from finetune_operator.decide.containers import unstarted
from finetune_operator.decide.gang import job_of, pods_of
from finetune_operator.decide.obstacle import Obstacle
from finetune_operator.decide.placement import unplaced
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import JobObserved, Observed, PodObserved, Refusal

_PODS_LATE = timedelta(seconds=15)
"""A Job without all its pods for so long is refused some. Its controller asks for them again at least once a minute."""


def waiting(attempt: Attempt, job: FineTuneJob, observed: Observed, now: datetime) -> Obstacle:
    """Call it for an attempt whose pods do not all run."""
    if observed.refusal is not None:
        return _refused(observed.refusal)
    child = job_of(attempt, observed)
    if child is None:
        return _was_refused(job.status) or Obstacle(Reason.STARTING, f"Job {attempt.job_name} is being created")
    pods = pods_of(attempt, observed)
    obstacles = (_obstacle(pod, job.spec) for pod in pods)
    if first := next(filter(None, obstacles), None):
        return first
    present = sum(not pod.gone for pod in pods)
    if present < child.completions:
        return _missing(child, present, job, now)
    running = sum(pod.started for pod in pods)
    late = next((pod for pod in pods if not pod.started), None)
    return Obstacle(Reason.STARTING, f"{running} of {child.completions} pods run{_progress(late)}")


def pods_late_at(attempt: Attempt, observed: Observed) -> datetime | None:
    """When pods that are missing are no longer only on their way; None when none is missing."""
    child = job_of(attempt, observed)
    if child is None or child.start_time is None:
        return None
    if sum(not pod.gone for pod in pods_of(attempt, observed)) >= child.completions:
        return None
    return child.start_time + _PODS_LATE


def _refused(refusal: Refusal) -> Obstacle:
    child = f"{refusal.kind.kind} {refusal.name}"
    if refusal.taken:
        return Obstacle(
            Reason.NAME_TAKEN,
            f"{child} exists and belongs to somebody else: delete it, or give the FineTuneJob another name",
            "metadata.name",
        )
    return Obstacle(Reason.REFUSED, f"{child} was refused: {refusal.message}")


def _was_refused(before: Status) -> Obstacle | None:
    """A refusal is known only in the moment of asking; until the child exists, it is what the status says."""
    said = condition(before, ConditionType.RUNNING)
    if said is None or said.reason not in (Reason.REFUSED, Reason.NAME_TAKEN):
        return None
    return Obstacle(Reason(said.reason), said.message, "metadata.name" if said.reason == Reason.NAME_TAKEN else None)


def _obstacle(pod: PodObserved, spec: Spec) -> Obstacle | None:
    if pod.started or pod.stopped or pod.gone:
        return None
    if pod.unschedulable is not None:
        return unplaced(pod, pod.unschedulable, spec)
    return unstarted(pod, spec)


def _progress(pod: PodObserved | None) -> str:
    """Of a pod that takes its time. Why a volume is not mounted, say, stands in its Events alone."""
    if pod is None or pod.node is None:
        return ""
    return f"; Pod {pod.name} on node {pod.node}: {pod.waiting_reason or 'Pending'}"


def _missing(child: JobObserved, present: int, job: FineTuneJob, now: datetime) -> Obstacle:
    """The Job controller tells only Events why it can make no pod, and those the operator has no right to read."""
    counted = f"Job {child.name} has {present} of {child.completions} pods"
    if child.start_time is None:
        return Obstacle(Reason.STARTING, f"{counted}: the cluster's Job controller has not taken it up yet")
    if now < child.start_time + _PODS_LATE:
        return Obstacle(Reason.STARTING, counted)
    account = job.spec.workers.service_account_name
    # One that does not exist has no pod made of it, and would have stopped preparation already.
    is_first = child.stage is Stage.PREPARE and present == 0
    suspects = ["a ResourceQuota is too small"]
    if account is not None and is_first:
        suspects.append(f"ServiceAccount {account} does not exist")
    message = (
        f"{counted}, and no more are let in: most likely {', or '.join(suspects)}; "
        f"`kubectl -n {job.metadata.namespace} describe job {child.name}` says"
    )
    field = "spec.workers.serviceAccountName" if len(suspects) > 1 else None
    return Obstacle(Reason.NO_PODS, message, field if child.stage is Stage.PREPARE else "spec.workers")
