"""One look: the children of a FineTuneJob, told from strangers' by their owner, and what was remembered of them."""

from __future__ import annotations

from dataclasses import replace

from finetune_api.contract import LABEL_UID
from finetune_api.job import FineTuneJob
from finetune_api.status import Attempt
from finetune_operator.apply import CHILDREN, Cluster, Kind, Ref
from finetune_operator.observe import ChildObserved, Heard, JobObserved, Observed, PodObserved
from finetune_operator.observe.bodies import AnyBody, JobBody, Origin, PodBody, origin_of
from finetune_operator.observe.jobs import job_from
from finetune_operator.observe.memory import Memory
from finetune_operator.observe.pods import pod_from
from finetune_operator.observe.workloads import workloads_of

_OTHERS = tuple(kind for kind in CHILDREN if kind not in (Kind.JOB, Kind.POD))


async def observe(job: FineTuneJob, cluster: Cluster, memory: Memory, *, kueue: bool = False) -> Observed:
    """`kueue`: whether Kueue is asked why a Job waits. Raises Unavailable."""
    # Jobs before pods: a Job that is already missing makes no more pods that the second list could miss.
    jobs = await _jobs(job, cluster)
    job_uids = {each.uid for each in jobs} | {attempt.job_uid for attempt in job.status.attempts}
    listed = [pod for pod in await _pods(job, cluster) if pod.job_uid in job_uids]
    remembered = [
        replace(pod, gone=True)
        for pod in memory.pods(job.metadata.uid)
        if pod.job_uid in job_uids and pod.uid not in {each.uid for each in listed}
    ]
    others = [child for kind in _OTHERS for child in await _others(job, cluster, kind)]
    return Observed(
        jobs=jobs,
        pods=(*listed, *remembered),
        others=tuple(others),
        workloads=await workloads_of(jobs, job.metadata.namespace, cluster) if kueue else None,
        heard=_heard(job, memory),
    )


def is_owned(child: AnyBody, job: FineTuneJob) -> bool:
    return child.metadata.controller_uid == job.metadata.uid


async def _jobs(job: FineTuneJob, cluster: Cluster) -> tuple[JobObserved, ...]:
    bodies = [JobBody.parse(body, ignore_unknown=True) for body in await cluster.list(*_mine(job, Kind.JOB))]
    found = [
        job_from(body, origin)
        for body in bodies
        if is_owned(body, job) and (origin := origin_of(body.metadata)) is not None
    ]
    attempt = job.status.open_attempt
    if attempt is not None and attempt.job_name not in {each.name for each in found}:
        # A list by labels also misses a Job whose labels somebody removed; only "no such object" means absent.
        found += await _unlisted(job, attempt, cluster)
    return tuple(found)


async def _unlisted(job: FineTuneJob, attempt: Attempt, cluster: Cluster) -> list[JobObserved]:
    body = await cluster.get(Ref(Kind.JOB, job.metadata.namespace, attempt.job_name))
    if body is None:
        return []
    read = JobBody.parse(body, ignore_unknown=True)
    return [job_from(read, Origin(job.metadata.uid, attempt.stage, attempt.number))] if is_owned(read, job) else []


async def _pods(job: FineTuneJob, cluster: Cluster) -> list[PodObserved]:
    bodies = [PodBody.parse(body, ignore_unknown=True) for body in await cluster.list(*_mine(job, Kind.POD))]
    return [pod_from(body, origin) for body in bodies if (origin := origin_of(body.metadata)) is not None]


async def _others(job: FineTuneJob, cluster: Cluster, kind: Kind) -> list[ChildObserved]:
    bodies = [AnyBody.parse(body, ignore_unknown=True) for body in await cluster.list(*_mine(job, kind))]
    return [
        ChildObserved(
            ref=Ref(kind, body.metadata.namespace, body.metadata.name),
            uid=body.metadata.uid,
            deletion_time=body.metadata.deletion_timestamp,
        )
        for body in bodies
        if is_owned(body, job)
    ]


def _mine(job: FineTuneJob, kind: Kind) -> tuple[Kind, str, dict[str, str]]:
    return kind, job.metadata.namespace, {LABEL_UID: job.metadata.uid}


def _heard(job: FineTuneJob, memory: Memory) -> Heard | None:
    """Progress of the open attempt; what an earlier one said is history."""
    heard = memory.progress(job.metadata.uid)
    attempt = job.status.open_attempt
    if heard is None or attempt is None:
        return None
    return heard if (heard.progress.stage, heard.progress.attempt) == (attempt.stage, attempt.number) else None
