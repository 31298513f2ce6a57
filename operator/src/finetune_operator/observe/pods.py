"""A pod's body → PodObserved, its last words included."""

from __future__ import annotations

import json

from pydantic import ValidationError

from finetune_api.contract import CONTAINER
from finetune_api.result import Result
from finetune_operator.observe import End, PodObserved
from finetune_operator.observe.bodies import ContainerStatus, Origin, PodBody, Terminated, condition

INDEX_ANNOTATION = "batch.kubernetes.io/job-completion-index"
_DIGEST_MAX_LENGTH = 160


def pod_from(pod: PodBody, origin: Origin, *, gone: bool = False) -> PodObserved:
    """`gone`: the body is the last state of a pod that was deleted."""
    meta, status = pod.metadata, pod.status
    container = next((each for each in status.container_statuses if each.name == CONTAINER), ContainerStatus(name=""))
    state = container.state
    disruption = condition(status.conditions, "DisruptionTarget")
    index = meta.annotations.get(INDEX_ANNOTATION, "")
    return PodObserved(
        name=meta.name,
        uid=meta.uid,
        job_uid=meta.controller_uid or "",
        stage=origin.stage,
        attempt=origin.attempt,
        index=int(index) if index.isdecimal() else 0,
        stopped=status.phase in ("Succeeded", "Failed"),
        running=state.running is not None,
        node=pod.spec.node_name,
        image_digest=_digest(container.image_id),
        creation_time=meta.creation_timestamp,
        waiting_reason=(state.waiting.reason or None) if state.waiting else None,
        waiting_message=state.waiting.message if state.waiting else "",
        unschedulable=next(
            (each.message for each in status.conditions if each.type == "PodScheduled" and each.status == "False"), None
        ),
        end=_end(state.terminated, origin) if state.terminated else None,
        disruption=disruption.reason if disruption else None,
        evicted=status.message if status.reason == "Evicted" else None,
        deletion_time=meta.deletion_timestamp,
        gone=gone,
    )


def _digest(image_id: str) -> str | None:
    """`name@sha256:…`, or the bare digest of an image that came from no registry; empty until it is there."""
    digest = image_id.rpartition("@")[2]
    return digest if 0 < len(digest) <= _DIGEST_MAX_LENGTH else None


def _end(terminated: Terminated, origin: Origin) -> End:
    return End(
        exit_code=terminated.exit_code,
        out_of_memory=terminated.reason == "OOMKilled",
        result=_result(terminated.message, origin),
        finish_time=terminated.finished_at,
    )


def _result(words: str, origin: Origin) -> Result | None:
    # A container that was killed leaves nothing, half a file, or the words of whatever ran before the trainer.
    try:
        result = Result.parse(json.loads(words), ignore_unknown=True)
    except (ValueError, TypeError, ValidationError):
        return None
    return result if (result.stage, result.attempt) == (origin.stage, origin.attempt) else None
