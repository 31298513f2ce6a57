"""Kueue's Workloads: read where a Job of ours waits, and only on a cluster that is said to have Kueue.

They are listed when they are needed and not watched: on a shared cluster nearly all of them are other people's, and
that a Job is admitted or preempted shows on the Job itself.
"""

from __future__ import annotations

from finetune_operator.apply import Cluster, Kind, Rejected
from finetune_operator.observe import JobObserved, WorkloadObserved
from finetune_operator.observe.bodies import Condition, WorkloadBody, condition

_LABEL = "kueue.x-k8s.io/job-uid"


async def workloads_of(jobs: tuple[JobObserved, ...], namespace: str, cluster: Cluster) -> tuple[WorkloadObserved, ...]:
    """Of those Jobs that are held back. None where they cannot be listed: `complaint` said so. Raises Unavailable."""
    waiting = [job for job in jobs if job.suspended and job.deletion_time is None]
    try:
        listed = [body for job in waiting for body in await cluster.list(Kind.WORKLOAD, namespace, {_LABEL: job.uid})]
    except Rejected:
        return ()
    bodies = [WorkloadBody.parse(body, ignore_unknown=True) for body in listed]
    # Anybody can write a label: the Job that a Workload stands for is its owner.
    uids = {job.uid for job in waiting}
    return tuple(workload_from(body) for body in bodies if body.metadata.controller_uid in uids)


async def complaint(namespaces: tuple[str, ...], cluster: Cluster) -> str | None:
    """Why Workloads cannot be listed, in `namespaces` or, when there are none, in all. Raises Unavailable."""
    try:
        for namespace in namespaces or (None,):
            await cluster.list(Kind.WORKLOAD, namespace, {_LABEL: "nobody"})
    except Rejected as error:
        return f"{Kind.WORKLOAD.plural} of {Kind.WORKLOAD.api_version} cannot be listed: {error}"
    return None


def workload_from(body: WorkloadBody) -> WorkloadObserved:
    conditions = body.status.conditions
    evicted = condition(conditions, "Evicted")
    # Its quota stays reserved until the pods of an evicted Job have stopped.
    waits = _denied(conditions, "QuotaReserved") or _denied(conditions, "Admitted") or evicted
    return WorkloadObserved(
        job_uid=body.metadata.controller_uid or "",
        active=body.spec.active,
        reason=waits.reason if waits else "",
        message=waits.message if waits else "",
        evicted=evicted.reason if evicted else None,
    )


def _denied(conditions: tuple[Condition, ...], kind: str) -> Condition | None:
    return next((each for each in conditions if each.type == kind and each.status == "False"), None)
