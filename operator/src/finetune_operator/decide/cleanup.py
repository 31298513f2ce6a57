"""Which children have to go, and which pods by force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from finetune_api.job import FineTuneJob
from finetune_api.status import Cause
from finetune_operator.apply import Kind
from finetune_operator.decide.failure import is_stuck
from finetune_operator.observe import JobObserved, Observed, PodObserved


@dataclass(frozen=True)
class Doomed:
    """An object to delete: this one, not another of the same name."""

    kind: Kind
    name: str
    uid: str


def surplus(job: FineTuneJob, observed: Observed) -> list[Doomed]:
    """Children of attempts that are over.

    A Job that ended by itself stays as long as it is the last of its stage: its pods hold the logs, and nothing else.
    Pods with a scratch volume of their own hold that, too, so they go when their stage has succeeded.
    """
    kept = {each.name for each in observed.jobs if _is_kept(each, job)}
    if job.status.open_attempt is not None:
        kept.add(job.status.open_attempt.job_name)
    jobs = [Doomed(Kind.JOB, each.name, each.uid) for each in observed.jobs if each.deletion_time is None]
    others = [Doomed(each.ref.kind, each.ref.name, each.uid) for each in observed.others if each.deletion_time is None]
    return [child for child in (*jobs, *others) if child.name not in kept]


def stuck(observed: Observed, now: datetime) -> list[PodObserved]:
    """Pods on nodes that do not answer. Whatever still runs there is fenced by the next attempt's epoch."""
    return [pod for pod in observed.pods if is_stuck(pod, now)]


def _is_kept(child: JobObserved, job: FineTuneJob) -> bool:
    ended = [each for each in job.status.attempts if each.stage is child.stage]
    latest = max((each.number for each in ended), default=0)
    if not (child.finished or child.failing) or child.attempt < latest:
        return False
    succeeded = any(each.number == child.attempt and each.cause is Cause.COMPLETED for each in ended)
    return not succeeded or job.spec.workers.resources.scratch_storage_class is None
