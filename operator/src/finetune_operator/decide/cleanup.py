"""Which children have to go, and which pods by force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from finetune_api.status import Status
from finetune_operator.apply import Kind
from finetune_operator.decide.failure import is_stuck
from finetune_operator.observe import JobObserved, Observed, PodObserved


@dataclass(frozen=True)
class Doomed:
    """An object to delete: this one, not another of the same name."""

    kind: Kind
    name: str
    uid: str


def surplus(status: Status, observed: Observed) -> list[Doomed]:
    """Children of attempts that are over.

    A Job that ended by itself stays as long as it is the last of its stage: its pods hold the logs, and nothing else.
    """
    kept = {job.name for job in observed.jobs if _is_kept(job, status)}
    if status.open_attempt is not None:
        kept.add(status.open_attempt.job_name)
    jobs = [Doomed(Kind.JOB, job.name, job.uid) for job in observed.jobs if job.deletion_time is None]
    others = [Doomed(each.ref.kind, each.ref.name, each.uid) for each in observed.others if each.deletion_time is None]
    return [child for child in (*jobs, *others) if child.name not in kept]


def stuck(observed: Observed, now: datetime) -> list[PodObserved]:
    """Pods on nodes that do not answer. Whatever still runs there is fenced by the next attempt's epoch."""
    return [pod for pod in observed.pods if is_stuck(pod, now)]


def _is_kept(job: JobObserved, status: Status) -> bool:
    latest = max((each.number for each in status.attempts if each.stage is job.stage), default=0)
    return (job.finished or job.failing) and job.attempt >= latest
