"""A Job's body → JobObserved."""

from __future__ import annotations

from finetune_operator.observe import JobObserved
from finetune_operator.observe.bodies import JobBody, Origin, condition

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def job_from(job: JobBody, origin: Origin) -> JobObserved:
    """`origin` is told, because a Job whose labels were removed by hand is still ours."""
    conditions = job.status.conditions
    complete, failed, target = (condition(conditions, kind) for kind in ("Complete", "Failed", "FailureTarget"))
    telling = complete or failed or target
    return JobObserved(
        name=job.metadata.name,
        uid=job.metadata.uid,
        stage=origin.stage,
        attempt=origin.attempt,
        start_time=job.status.start_time,
        suspended=job.spec.suspend,
        queue=job.metadata.labels.get(QUEUE_LABEL),
        completions=job.spec.completions,
        succeeded=job.status.succeeded,
        complete=complete is not None,
        failing=failed is not None or target is not None,
        finished=complete is not None or failed is not None,
        message=telling.message if telling else "",
        deletion_time=job.metadata.deletion_timestamp,
    )
