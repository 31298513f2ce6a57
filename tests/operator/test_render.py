"""Rendered children, compared whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from finetune_api.contract import LABEL_STAGE, LABEL_UID, Stage
from finetune_api.job import FineTuneJob
from finetune_api.result import MicroBatch
from finetune_api.snapshot import Period, Snapshot
from finetune_api.status import Attempt, Status
from finetune_operator.render import render
from finetune_operator.settings import Settings
from jobs import UID, make_job
from observed import NOW, PREPARE_1, TRAIN_1, a_fine_tune_job, ago, an_attempt, an_ended_attempt, prepared_status
from pod_security import violations
from results import PREPARED

SETTINGS = Settings(trainer_image="registry.example/trainer:1")


def a_preparing_job(**spec: Any) -> FineTuneJob:
    attempt = Attempt(stage=Stage.PREPARE, number=1, job_name=PREPARE_1, start_time=NOW)
    return make_job(status=Status(start_time=NOW, attempts=(attempt,)), **spec)


def metadata(stage: str, **labels: str) -> dict[str, Any]:
    return {
        "name": f"triage-5f0c1-{stage}-1",
        "namespace": "ml",
        "labels": {**labels, **own_labels(stage)},
        "ownerReferences": [
            {
                "apiVersion": "finetune.dev/v1alpha1",
                "kind": "FineTuneJob",
                "name": "triage",
                "uid": UID,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def own_labels(stage: str) -> dict[str, str]:
    return {
        "finetune.dev/managed": "true",
        "finetune.dev/job": "triage",
        "finetune.dev/job-uid": UID,
        "finetune.dev/stage": stage,
        "finetune.dev/attempt": "1",
    }


POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}
CORES = {"name": "FINETUNE_CORES", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}}
COMMON_ENV = [
    {"name": "FINETUNE_SNAPSHOT", "value": "/etc/finetune/snapshot.json"},
    {"name": "FINETUNE_SCRATCH", "value": "/scratch"},
    {"name": "FINETUNE_RESULT", "value": "/dev/termination-log"},
    {"name": "FINETUNE_PROGRESS_PORT", "value": "8080"},
    {"name": "FINETUNE_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    {"name": "HOME", "value": "/scratch"},
    {"name": "TMPDIR", "value": "/tmp"},
    {"name": "HF_HUB_OFFLINE", "value": "1"},
    {"name": "PYTHONUNBUFFERED", "value": "1"},
]
NODE_TROUBLE = [
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
]
PREPARE_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": metadata("prepare"),
    "spec": {
        "completionMode": "Indexed",
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "template": {
            "metadata": {"labels": own_labels("prepare"), "annotations": {}},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 120,
                "securityContext": POD_SECURITY,
                "tolerations": NODE_TROUBLE,
                "containers": [
                    {
                        "name": "trainer",
                        "image": "registry.example/trainer:1",
                        "command": ["python", "-m", "finetune_trainer", "prepare"],
                        "env": [*COMMON_ENV, CORES],
                        "ports": [{"name": "progress", "containerPort": 8080, "protocol": "TCP"}],
                        "resources": {
                            "requests": {"cpu": "2", "memory": "8Gi", "ephemeral-storage": "50Gi"},
                            "limits": {"memory": "8Gi"},
                        },
                        "securityContext": CONTAINER_SECURITY,
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File",
                        "volumeMounts": [
                            {"name": "snapshot", "mountPath": "/etc/finetune", "readOnly": True},
                            {"name": "scratch", "mountPath": "/scratch"},
                            {"name": "tmp", "mountPath": "/tmp"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "snapshot", "configMap": {"name": PREPARE_1}},
                    {"name": "scratch", "emptyDir": {"sizeLimit": "50Gi"}},
                    {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
                ],
            },
        },
    },
}
EVERYTHING: dict[str, Any] = {
    "workers": {
        "nodes": 2,
        "gpusPerNode": 8,
        "image": "registry.example/mine:2",
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
        "resources": {"cpu": "32", "memory": "512Gi", "scratch": "2Ti"},
        "serviceAccountName": "trainer",
    },
    "storage": {"secretName": "s3", "endpoint": "https://s3.example", "region": "eu-1"},
    "scheduling": {"queueName": "gpus", "prepareQueueName": "cpus", "priorityClass": "high"},
    "podMetadata": {"labels": {"team": "search"}, "annotations": {"sidecar.istio.io/inject": "false"}},
}
TRAIN_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": metadata("train"),
    "spec": {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"batch.kubernetes.io/job-name": TRAIN_1},
        "ports": [
            {
                "name": "rendezvous",
                "port": 29500,
                "targetPort": "rendezvous",
                "protocol": "TCP",
                "appProtocol": "tcp",
            }
        ],
    },
}
TRAIN_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": metadata("train", **{"kueue.x-k8s.io/queue-name": "gpus", "kueue.x-k8s.io/priority-class": "high"}),
    "spec": {
        "completionMode": "Indexed",
        "completions": 2,
        "parallelism": 2,
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "template": {
            "metadata": {
                "labels": {"team": "search", **own_labels("train")},
                "annotations": {"sidecar.istio.io/inject": "false"},
            },
            "spec": {
                "restartPolicy": "Never",
                "serviceAccountName": "trainer",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 120,
                "securityContext": POD_SECURITY,
                "tolerations": [
                    *NODE_TROUBLE,
                    {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                    {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"},
                ],
                "subdomain": TRAIN_1,
                "nodeSelector": {"pool": "gpu"},
                "containers": [
                    {
                        "name": "trainer",
                        "image": "registry.example/mine:2",
                        "command": ["python", "-m", "finetune_trainer", "train"],
                        "env": [
                            *COMMON_ENV,
                            {"name": "AWS_ENDPOINT_URL_S3", "value": "https://s3.example"},
                            {"name": "AWS_REGION", "value": "eu-1"},
                            {
                                "name": "AWS_ACCESS_KEY_ID",
                                "valueFrom": {"secretKeyRef": {"name": "s3", "key": "accessKeyId"}},
                            },
                            {
                                "name": "AWS_SECRET_ACCESS_KEY",
                                "valueFrom": {"secretKeyRef": {"name": "s3", "key": "secretAccessKey"}},
                            },
                            {
                                "name": "AWS_SESSION_TOKEN",
                                "valueFrom": {"secretKeyRef": {"name": "s3", "key": "sessionToken", "optional": True}},
                            },
                            {"name": "FINETUNE_RENDEZVOUS_HOST", "value": f"{TRAIN_1}-0.{TRAIN_1}.ml.svc"},
                            {"name": "FINETUNE_RENDEZVOUS_PORT", "value": "29500"},
                            CORES,
                        ],
                        "ports": [
                            {"name": "progress", "containerPort": 8080, "protocol": "TCP"},
                            {"name": "rendezvous", "containerPort": 29500, "protocol": "TCP"},
                        ],
                        "resources": {
                            "requests": {"cpu": "32", "memory": "512Gi", "ephemeral-storage": "2Ti"},
                            "limits": {"memory": "512Gi", "nvidia.com/gpu": "8"},
                        },
                        "securityContext": CONTAINER_SECURITY,
                        "terminationMessagePath": "/dev/termination-log",
                        "terminationMessagePolicy": "File",
                        "volumeMounts": [
                            {"name": "snapshot", "mountPath": "/etc/finetune", "readOnly": True},
                            {"name": "scratch", "mountPath": "/scratch"},
                            {"name": "tmp", "mountPath": "/tmp"},
                            {"name": "shm", "mountPath": "/dev/shm"},
                        ],
                    }
                ],
                "volumes": [
                    {"name": "snapshot", "configMap": {"name": TRAIN_1}},
                    {"name": "scratch", "emptyDir": {"sizeLimit": "2Ti"}},
                    {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}},
                ],
            },
        },
    },
}


def test_preparation_is_a_job_of_one_pod_and_what_it_needs() -> None:
    config_map, _, job = render(a_preparing_job(), SETTINGS)
    assert config_map["metadata"] == metadata("prepare")
    assert job == PREPARE_JOB


def test_preparation_asks_the_hub_only_where_a_source_lies_there() -> None:
    sources = {"sources": [{"uri": "hf://datasets/owner/name/*.jsonl"}]}
    settings = replace(SETTINGS, hub_endpoint="https://hub.example")

    def env(job: FineTuneJob) -> dict[str, Any]:
        (container,) = render(job, settings)[-1]["spec"]["template"]["spec"]["containers"]
        return {entry["name"]: {**entry, "name": ""} for entry in container["env"]}

    plain = env(a_preparing_job(storage={"secretName": "s3"}))
    assert env(a_preparing_job(data=sources, storage={"secretName": "s3"})) == plain | {
        "HF_HUB_OFFLINE": {"name": "", "value": "0"},
        "HF_ENDPOINT": {"name": "", "value": "https://hub.example"},
        "HF_TOKEN": {"name": "", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "hfToken", "optional": True}}},
    }
    assert "HF_TOKEN" not in env(a_preparing_job(data=sources))
    training = env(a_fine_tune_job(data=sources, storage={"secretName": "s3"}))
    assert training["HF_HUB_OFFLINE"] == {"name": "", "value": "1"}
    assert training.keys().isdisjoint({"HF_TOKEN", "HF_ENDPOINT"})


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("None", {}),
        (
            "MLflow",
            {
                "MLFLOW_TRACKING_TOKEN": "token",
                "MLFLOW_TRACKING_USERNAME": "username",
                "MLFLOW_TRACKING_PASSWORD": "password",
            },
        ),
        ("WandB", {"WANDB_API_KEY": "apiKey"}),
    ],
)
def test_training_is_given_the_keys_of_its_tracker_and_starts_without_them(kind: str, keys: dict[str, str]) -> None:
    tracking = {"type": kind, "uri": "http://tracker.ml.svc:5000", "secretName": "tracker"}

    def env(job: FineTuneJob) -> list[dict[str, Any]]:
        (container,) = render(job, SETTINGS)[-1]["spec"]["template"]["spec"]["containers"]
        return list(container["env"])

    plain = env(a_fine_tune_job())
    assert [entry for entry in env(a_fine_tune_job(tracking=tracking)) if entry not in plain] == [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "tracker", "key": key, "optional": True}}}
        for name, key in keys.items()
    ]
    assert env(a_preparing_job(tracking=tracking)) == env(a_preparing_job())


def test_training_is_a_job_of_the_gang_and_what_it_needs() -> None:
    config_map, _, service, job = render(a_fine_tune_job(**EVERYTHING), SETTINGS)
    assert config_map["metadata"] == metadata("train")
    assert service == TRAIN_SERVICE
    assert job == TRAIN_JOB


def test_training_is_told_what_did_not_fit() -> None:
    found = MicroBatch(tried=8, fits=4, halvings=1)
    job = a_fine_tune_job(prepared_status(an_attempt(), micro_batch=found))
    assert Snapshot.parse(json.loads(render(job, SETTINGS)[0]["data"]["snapshot.json"])).micro_batch == found


@pytest.mark.parametrize("job", [a_preparing_job(**EVERYTHING), a_fine_tune_job(**EVERYTHING)])
def test_the_snapshot_is_what_the_attempt_carries_out_and_never_changes(job: FineTuneJob) -> None:
    config_map = render(job, SETTINGS)[0]
    assert config_map["immutable"] is True
    ((name, text),) = config_map["data"].items()
    assert name == "snapshot.json"
    attempt = job.status.open_attempt
    assert attempt is not None
    told = {"prepared": PREPARED, "preparation": Period(start_time=ago(3600), finish_time=ago(700))}
    assert Snapshot.parse(json.loads(text)) == Snapshot(
        name="triage",
        namespace="ml",
        uid=UID,
        stage=attempt.stage,
        attempt=1,
        spec=job.spec,
        **(told if attempt.stage is Stage.TRAIN else {}),
    )


@pytest.mark.parametrize("job", [a_preparing_job(**EVERYTHING), a_fine_tune_job(), a_fine_tune_job(**EVERYTHING)])
def test_pods_fit_pod_security_restricted(job: FineTuneJob) -> None:
    assert violations(render(job, SETTINGS)[-1]["spec"]["template"]["spec"]) == []


@pytest.mark.parametrize(("of", "size"), [(a_preparing_job, "50Gi"), (a_fine_tune_job, "2Ti")])
def test_scratch_may_lie_on_a_volume_that_goes_with_its_pod(of: Callable[..., FineTuneJob], size: str) -> None:
    resources = {"scratchStorageClass": "fast"} | ({"scratch": size} if of is a_fine_tune_job else {})
    job = of(workers={"resources": resources})
    spec = render(job, SETTINGS)[-1]["spec"]["template"]["spec"]
    assert spec["volumes"][1] == {
        "name": "scratch",
        "ephemeral": {
            "volumeClaimTemplate": {
                "spec": {
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": "fast",
                    "resources": {"requests": {"storage": size}},
                }
            }
        },
    }
    # What is left on the node's disk is /tmp.
    assert spec["containers"][0]["resources"]["requests"]["ephemeral-storage"] == "1Gi"
    assert violations(spec) == []


def test_the_pod_security_check_sees_what_is_wrong() -> None:
    assert violations({"hostNetwork": True, "volumes": [{"name": "v", "hostPath": {}}], "containers": [{}]}) == [
        "hostNetwork is set",
        "volume v is no configMap/csi/downwardAPI/emptyDir/ephemeral/image/persistentVolumeClaim/projected/secret",
        "may run as root",
        "no seccomp profile",
        "may escalate privileges",
        "keeps capabilities",
    ]


def test_nothing_is_asked_of_gpus_that_the_job_does_not_use() -> None:
    spec = render(a_fine_tune_job(), SETTINGS)[-1]["spec"]["template"]["spec"]
    assert spec["tolerations"] == NODE_TROUBLE
    assert spec["containers"][0]["resources"]["limits"] == {"memory": "16Gi"}


def test_preparation_waits_in_its_own_queue_and_on_no_gpu_node() -> None:
    job = render(a_preparing_job(**EVERYTHING), SETTINGS)[-1]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "cpus"
    spec = job["spec"]["template"]["spec"]
    assert "nodeSelector" not in spec
    assert spec["tolerations"] == NODE_TROUBLE
    assert spec["serviceAccountName"] == "trainer"


def test_a_job_that_is_not_queued_bears_no_priority_of_queues() -> None:
    job = render(a_fine_tune_job(scheduling={"prepareQueueName": "cpus", "priorityClass": "high"}), SETTINGS)[-1]
    assert job["metadata"] == metadata("train")


def test_nobody_passes_for_another_job_by_the_labels_of_its_pods() -> None:
    job = a_fine_tune_job()
    forged = job.spec.pod_metadata.model_copy(update={"labels": {LABEL_UID: "other", LABEL_STAGE: "prepare"}})
    job = job.model_copy(update={"spec": job.spec.model_copy(update={"pod_metadata": forged})})
    assert render(job, SETTINGS)[-1]["spec"]["template"]["metadata"]["labels"] == own_labels("train")


def test_what_gitops_writes_on_the_job_is_not_copied_to_its_children() -> None:
    tracked = make_job(
        metadata={
            "labels": {"app.kubernetes.io/instance": "apps"},
            "annotations": {"argocd.argoproj.io/tracking-id": "x"},
        },
        status=prepared_status(an_attempt()),
    )
    assert all(manifest["metadata"] == metadata("train") for manifest in render(tracked, SETTINGS))


@pytest.mark.parametrize("status", [Status(), prepared_status(), prepared_status(an_ended_attempt(1))])
def test_without_an_open_attempt_nothing_is_wanted(status: Status) -> None:
    assert render(a_fine_tune_job(status), SETTINGS) == []


def test_manifests_are_json_and_the_same_every_time() -> None:
    first, second = (json.dumps(render(a_fine_tune_job(**EVERYTHING), SETTINGS)) for _ in range(2))
    assert first == second
    assert json.loads(first) == render(a_fine_tune_job(**EVERYTHING), SETTINGS)
