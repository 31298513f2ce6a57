"""The Indexed Job around one attempt's pods. It fails once and as a whole; every other attempt is another Job."""

from __future__ import annotations

from typing import Any

from finetune_api.job import FineTuneJob
from finetune_api.status import Attempt
from finetune_operator.apply import Manifest
from finetune_operator.render.names import metadata


def indexed_job(
    job: FineTuneJob, attempt: Attempt, *, num_pods: int, queue: str | None, template: dict[str, Any]
) -> Manifest:
    """`queue` is a LocalQueue of Kueue, which then decides over `spec.suspend`; the field is never set here."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(job, attempt, _queue_labels(job, queue)),
        "spec": {
            "completionMode": "Indexed",
            "completions": num_pods,
            "parallelism": num_pods,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": template,
        },
    }


def _queue_labels(job: FineTuneJob, queue: str | None) -> dict[str, str]:
    if queue is None:
        return {}
    priority = job.spec.scheduling.priority_class
    return {"kueue.x-k8s.io/queue-name": queue} | ({"kueue.x-k8s.io/priority-class": priority} if priority else {})
