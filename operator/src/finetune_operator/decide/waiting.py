"""Why the pods of an attempt do not run yet, and which field of the job would help."""

from __future__ import annotations

import re
from dataclasses import dataclass

from finetune_api.contract import Stage
from finetune_api.spec import Spec
from finetune_api.status import Attempt, ConditionType, Status
from finetune_operator.decide.conditions import condition
from finetune_operator.decide.gang import job_of, pods_of
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import Observed, PodObserved, Refusal

_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True)
class Waiting:
    """What is missing; `field` is where a person could change it."""

    reason: Reason
    message: str
    field: str | None = None


def waiting(attempt: Attempt, spec: Spec, before: Status, observed: Observed) -> Waiting:
    """Call it for an attempt whose pods do not all run."""
    if observed.refusal is not None:
        return _refused(observed.refusal)
    job = job_of(attempt, observed)
    if job is None:
        # The refusal is known only in the moment of asking; until the child exists, it is what the status says.
        said = condition(before, ConditionType.RUNNING)
        if said is not None and said.reason in (Reason.REFUSED, Reason.NAME_TAKEN):
            return Waiting(
                Reason(said.reason), said.message, "metadata.name" if said.reason == Reason.NAME_TAKEN else None
            )
        return Waiting(Reason.STARTING, f"Job {attempt.job_name} is being created")
    pods = pods_of(attempt, observed)
    obstacles = [obstacle for pod in pods if (obstacle := _obstacle(pod, spec)) is not None]
    if obstacles:
        return obstacles[0]
    present = sum(not pod.gone for pod in pods)
    if present < job.completions:
        return Waiting(
            Reason.NO_PODS,
            f"Job {job.name} has {present} of {job.completions} pods; its events say why "
            "(often a quota, or a service account that does not exist)",
            "spec.workers.serviceAccountName" if spec.workers.service_account_name else None,
        )
    running = sum(pod.started for pod in pods)
    return Waiting(Reason.STARTING, f"{running} of {job.completions} pods run")


def _refused(refusal: Refusal) -> Waiting:
    child = f"{refusal.kind.kind} {refusal.name}"
    if refusal.taken:
        return Waiting(
            Reason.NAME_TAKEN,
            f"{child} exists and belongs to somebody else: delete it, or give the FineTuneJob another name",
            "metadata.name",
        )
    return Waiting(Reason.REFUSED, f"{child} was refused: {refusal.message}")


def _obstacle(pod: PodObserved, spec: Spec) -> Waiting | None:
    if pod.started or pod.stopped or pod.gone:
        return None
    if pod.unschedulable is not None:
        return Waiting(Reason.UNSCHEDULABLE, f"Pod {pod.name}: {pod.unschedulable}", _placement_field(pod))
    if pod.waiting_reason in _IMAGE_REASONS:
        return Waiting(Reason.IMAGE_PULL, f"Pod {pod.name}: {pod.waiting_message}", "spec.workers.image")
    if pod.waiting_reason in _CONFIG_REASONS:
        # `secret "s3" not found`, or `couldn't find key accessKeyId in Secret ml/s3`.
        secret = spec.storage.secret_name
        names_it = secret is not None and re.search(rf"[/\"]{re.escape(secret)}(?![-a-z0-9.])", pod.waiting_message)
        return Waiting(
            Reason.CONTAINER_CONFIG,
            f"Pod {pod.name}: {pod.waiting_message}",
            "spec.storage.secretName" if names_it else None,
        )
    return None


def _placement_field(pod: PodObserved) -> str | None:
    """What a person can change about the placement; preparation takes only what the operator's settings give it."""
    return "spec.workers" if pod.stage is Stage.TRAIN else None
