"""By what children are found: labels and DNS names. The name itself was decided with the attempt."""

from __future__ import annotations

from typing import Any

from finetune_api.contract import (
    API_VERSION,
    KIND,
    LABEL_ATTEMPT,
    LABEL_JOB,
    LABEL_MANAGED,
    LABEL_STAGE,
    LABEL_UID,
)
from finetune_api.job import FineTuneJob, Metadata
from finetune_api.status import Attempt


def metadata(job: FineTuneJob, attempt: Attempt, extra_labels: dict[str, str] | None = None) -> dict[str, Any]:
    """Of a child. Nothing of the FineTuneJob's own labels and annotations: GitOps tools prune what carries theirs."""
    return {
        "name": attempt.job_name,
        "namespace": job.metadata.namespace,
        "labels": {**(extra_labels or {}), **labels(job.metadata, attempt)},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": job.metadata.name,
                "uid": job.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def labels(owner: Metadata, attempt: Attempt) -> dict[str, str]:
    """On every child and on its pods."""
    return {
        LABEL_MANAGED: "true",
        LABEL_JOB: owner.name,
        LABEL_UID: owner.uid,
        LABEL_STAGE: attempt.stage.lower(),
        LABEL_ATTEMPT: str(attempt.number),
    }


def pod_selector(attempt: Attempt) -> dict[str, str]:
    """Labels, put there by the Job controller, that all pods of an attempt bear and no others do."""
    return {"batch.kubernetes.io/job-name": attempt.job_name}


def rendezvous_host(job: FineTuneJob, attempt: Attempt) -> str:
    """DNS name of rank 0's pod: its hostname below the Service of its Job."""
    return f"{attempt.job_name}-0.{attempt.job_name}.{job.metadata.namespace}.svc"
