"""The Job controller for Indexed Jobs with backoffLimit 0: one pure step from a Job and its pods to what comes next."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from finetune_api.contract import Env
from finetune_operator.apply import Body, Manifest, Rejected

TRACKING = "batch.kubernetes.io/job-tracking"
"""Finalizer that keeps a finished pod until the Job has counted it."""
JOB_NAME = "batch.kubernetes.io/job-name"
INDEX = "batch.kubernetes.io/job-completion-index"
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the controller does next."""

    status: Manifest
    create: tuple[Manifest, ...] = ()
    delete: tuple[Body, ...] = ()
    """Pods to stop."""
    counted: tuple[Body, ...] = ()
    """Pods that lose the tracking finalizer."""


def check(manifest: Manifest) -> None:
    """Raises Rejected for a Job that this controller would run otherwise than the real one."""
    spec = manifest["spec"]
    if (spec.get("completionMode"), spec.get("backoffLimit")) != ("Indexed", 0):
        raise Rejected("spec: only Indexed Jobs with backoffLimit 0 run on one machine")
    if spec.get("completions") != spec.get("parallelism"):
        raise Rejected("spec.completions: must equal spec.parallelism")


def step(job: Body, pods: Sequence[Body], *, now: str, suffix: Callable[[], str]) -> Step:
    """`pods` are the Job's own; `suffix` makes the random end of a pod's name.

    Counts are kept in the status, as in the cluster, because pods go while the Job stays.
    """
    spec, status = job["spec"], copy.deepcopy(job["status"])
    uncounted = tuple(pod for pod in pods if _phase(pod) in _FINISHED and _is_tracked(pod))
    indexes = _indexes(status.get("completedIndexes", ""))
    indexes |= {_index(pod) for pod in uncounted if _phase(pod) == "Succeeded"}
    failed = status.get("failed", 0) + sum(_phase(pod) == "Failed" for pod in uncounted)
    active = tuple(pod for pod in pods if _phase(pod) not in _FINISHED and not _deleted(pod))
    terminating = tuple(pod for pod in pods if _phase(pod) not in _FINISHED and _deleted(pod))

    create: tuple[Manifest, ...] = ()
    stop: tuple[Body, ...] = ()
    if failed:
        _set_condition(status, "FailureTarget", now, *_BACKOFF)
        stop = active
        if not active and not terminating:
            _set_condition(status, "Failed", now, *_BACKOFF)
    elif len(indexes) == spec["completions"]:
        _set_condition(status, "SuccessCriteriaMet", now, *_REACHED)
        _set_condition(status, "Complete", now, *_REACHED)
        status.setdefault("completionTime", now)
    elif spec.get("suspend"):
        _set_condition(status, "Suspended", now, "JobSuspended", "Job suspended")
        stop = active
    elif not _deleted(job):
        status.setdefault("startTime", now)
        taken = indexes | {_index(pod) for pod in (*active, *terminating)}
        create = tuple(_pod(job, index, suffix()) for index in range(spec["completions"]) if index not in taken)
    counts = {
        "active": len(active) + len(create) - len(stop),
        "succeeded": len(indexes),
        "failed": failed,
        "completedIndexes": ",".join(str(index) for index in sorted(indexes)),
    }
    status = {key: value for key, value in status.items() if key not in counts}
    # As the API server encodes them: these are left out while they are zero, the next ones are not.
    status |= {key: value for key, value in counts.items() if value}
    status |= {
        "ready": sum(_is_ready(pod) for pod in active),
        "terminating": len(terminating) + len(stop),
        "uncountedTerminatedPods": {},
    }
    return Step(status=status, create=create, delete=stop, counted=uncounted)


_REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")
_BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")


def _pod(job: Body, index: int, suffix: str) -> Manifest:
    template, metadata = copy.deepcopy(job["spec"]["template"]), job["metadata"]
    labels = {
        "batch.kubernetes.io/controller-uid": metadata["uid"],
        JOB_NAME: metadata["name"],
        INDEX: str(index),
        "controller-uid": metadata["uid"],
        "job-name": metadata["name"],
    }
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    named, spec = template.get("metadata", {}), template["spec"]
    for container in spec["containers"]:
        source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
        container["env"] = [*container.get("env", ()), {"name": Env.NODE_RANK.value, "valueFrom": source}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name']}-{index}-{suffix}",
            "namespace": metadata["namespace"],
            "labels": {**named.get("labels", {}), **labels},
            "annotations": {**named.get("annotations", {}), INDEX: str(index)},
            "ownerReferences": [owner],
            "finalizers": [TRACKING],
        },
        "spec": {**spec, "hostname": f"{metadata['name']}-{index}"},
    }


def _set_condition(status: dict[str, Any], kind: str, now: str, reason: str, message: str) -> None:
    conditions = status.setdefault("conditions", [])
    if not any(condition["type"] == kind for condition in conditions):
        times = {"lastProbeTime": now, "lastTransitionTime": now}
        conditions.append({"type": kind, "status": "True", "reason": reason, "message": message, **times})


def _indexes(text: str) -> set[int]:
    return {int(index) for index in text.split(",") if index}


def _index(pod: Body) -> int:
    return int(pod["metadata"]["annotations"][INDEX])


def _phase(pod: Body) -> str:
    return str(pod["status"].get("phase", "Pending"))


def _is_tracked(pod: Body) -> bool:
    return TRACKING in pod["metadata"].get("finalizers", ())


def _deleted(body: Body) -> bool:
    return "deletionTimestamp" in body["metadata"]


def _is_ready(pod: Body) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
