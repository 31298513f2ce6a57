"""What the pods of both stages have in common: identity, security, volumes, environment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from finetune_api.contract import (
    CONTAINER,
    MOUNT_SCRATCH,
    MOUNT_SNAPSHOT,
    OPTIONAL_SECRET_KEYS,
    PORT_NAME_PROGRESS,
    PORT_PROGRESS,
    SECRET_KEYS,
    SNAPSHOT_FILE,
    TERMINATION_LOG,
    Env,
)
from finetune_api.job import FineTuneJob
from finetune_api.spec import Storage
from finetune_api.status import Attempt
from finetune_operator.render.names import labels
from finetune_operator.settings import PodDefaults, Settings

_USER = 65532
_MOUNT_TMP = "/tmp"
_TMP_SIZE = "1Gi"
_NODE_TROUBLE = [
    # The default of 300 s is five minutes of a gang waiting for a node that is gone.
    {"key": f"node.kubernetes.io/{trouble}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    for trouble in ("not-ready", "unreachable")
]

CORES: Final = {"name": str(Env.CORES), "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}}
"""A thread or process for each core of the node would be one for each of its neighbours', too."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What one stage's pods have beyond that."""

    env: Sequence[dict[str, Any]] = ()
    ports: Sequence[dict[str, Any]] = ()
    limits: dict[str, str] = field(default_factory=dict)
    volumes: Sequence[dict[str, Any]] = ()
    mounts: Sequence[dict[str, Any]] = ()
    tolerations: Sequence[dict[str, Any]] = ()
    spec: dict[str, Any] = field(default_factory=dict)
    """Further fields of the pod's spec."""
    reads_hub: bool = False
    """Whether the Hugging Face Hub may be asked."""


def pod_template(
    job: FineTuneJob, attempt: Attempt, settings: Settings, resources: PodDefaults, extras: Extras
) -> dict[str, Any]:
    """Fits Pod Security `restricted`; the API server's credentials are not in it."""
    workers = job.spec.workers
    identity = {"serviceAccountName": workers.service_account_name} if workers.service_account_name else {}
    return {
        "metadata": {
            "labels": {**job.spec.pod_metadata.labels, **labels(job.metadata, attempt)},
            "annotations": dict(job.spec.pod_metadata.annotations),
        },
        "spec": {
            "restartPolicy": "Never",
            **identity,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": settings.grace_seconds,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "tolerations": [*_NODE_TROUBLE, *extras.tolerations],
            "containers": [_container(job, attempt, settings, resources, extras)],
            "volumes": [
                {"name": "snapshot", "configMap": {"name": attempt.job_name}},
                _scratch(workers.resources.scratch_storage_class, resources.scratch),
                {"name": "tmp", "emptyDir": {"sizeLimit": _TMP_SIZE}},
                *extras.volumes,
            ],
            **extras.spec,
        },
    }


def _container(
    job: FineTuneJob, attempt: Attempt, settings: Settings, resources: PodDefaults, extras: Extras
) -> dict[str, Any]:
    on_node = _TMP_SIZE if job.spec.workers.resources.scratch_storage_class else resources.scratch
    requests = {"cpu": resources.cpu, "memory": resources.memory, "ephemeral-storage": on_node}
    return {
        "name": CONTAINER,
        "image": job.spec.workers.image or settings.trainer_image,
        "command": ["python", "-m", "finetune_trainer", attempt.stage.lower()],
        "env": [*_environment(offline=not extras.reads_hub), *_storage_environment(job.spec.storage), *extras.env],
        "ports": [{"name": PORT_NAME_PROGRESS, "containerPort": PORT_PROGRESS, "protocol": "TCP"}, *extras.ports],
        # No CPU limit: throttling one rank slows them all.
        "resources": {"requests": requests, "limits": {"memory": resources.memory, **extras.limits}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePath": TERMINATION_LOG,
        # Not FallbackToLogsOnError: a status holds no log text, and only a Result can be read from it.
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "snapshot", "mountPath": MOUNT_SNAPSHOT, "readOnly": True},
            {"name": "scratch", "mountPath": MOUNT_SCRATCH},
            {"name": "tmp", "mountPath": _MOUNT_TMP},
            *extras.mounts,
        ],
    }


def _scratch(storage_class: str | None, size: str) -> dict[str, Any]:
    """A folder on the node's disk, or a volume that comes and goes with its pod."""
    if storage_class is None:
        return {"name": "scratch", "emptyDir": {"sizeLimit": size}}
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": size}},
    }
    return {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}


def variable(name: str, value: str) -> dict[str, Any]:
    return {"name": str(name), "value": value}


def _environment(*, offline: bool) -> list[dict[str, Any]]:
    return [
        variable(Env.SNAPSHOT, f"{MOUNT_SNAPSHOT}/{SNAPSHOT_FILE}"),
        variable(Env.SCRATCH, MOUNT_SCRATCH),
        variable(Env.RESULT, TERMINATION_LOG),
        variable(Env.PROGRESS_PORT, str(PORT_PROGRESS)),
        {"name": str(Env.POD_NAME), "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        # The root file system is read-only; caches of libraries go to the node's disk.
        variable("HOME", MOUNT_SCRATCH),
        variable("TMPDIR", _MOUNT_TMP),
        # Whatever is loaded was resolved and verified by prepare; nothing is fetched behind its back.
        variable("HF_HUB_OFFLINE", "1" if offline else "0"),
        variable("PYTHONUNBUFFERED", "1"),
    ]


def _storage_environment(storage: Storage) -> list[dict[str, Any]]:
    env = []
    if storage.endpoint is not None:
        env.append(variable("AWS_ENDPOINT_URL_S3", storage.endpoint))
    if storage.region is not None:
        env.append(variable("AWS_REGION", storage.region))
    if storage.secret_name is not None:
        # Key by key: envFrom would let a Secret set any variable, PYTHONPATH among them.
        for key, name in SECRET_KEYS.items():
            env.append(secret_variable(name, storage.secret_name, key, optional=key in OPTIONAL_SECRET_KEYS))
    return env


def secret_variable(name: str, secret_name: str, key: str, *, optional: bool) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": secret_name, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}
