"""Mistakes that only a cluster notices: explained with the field to change, healed when the cause goes, else failed.

All jobs run at once, each in a namespace of its own. What a real kubelet says of an image or a Secret is said here by
the test, in the words of kubelet 1.36; scheduler, quota and volume controllers are real.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster import ControlPlane
from cluster_client import FINETUNE_JOBS, JOBS, PODS, RESOURCE_QUOTAS, Resource, eventually
from cluster_job import ClusterJob, no_jobs_allowed
from cluster_operator import Operator
from finetune_api.contract import CONTAINER, ExitCode, Stage
from finetune_api.result import Failure, Result
from finetune_api.status import ConditionType, Phase
from finetune_operator.decide.reasons import Reason
from kwok import Exit, hold
from kwok_results import prepared, published

pytestmark = pytest.mark.tier("controlplane")

ACCOUNTS = Resource("v1", "serviceaccounts")
EXPLAINED = 60.0
"""Seconds within which a person must be told."""
FORBIDDEN = Failure(reason="AccessDenied", message="s3://raw/tickets.jsonl: 403", field="spec.data.sources[0].uri")
SUCCEEDS = {(Stage.PREPARE, 1): prepared(), (Stage.TRAIN, 1): published()}
HELD = {"podMetadata": {"annotations": hold(Stage.PREPARE, 1)}}
SPECS: dict[str, dict[str, Any]] = {
    # Four nodes of 64 hold sixteen such pods.
    "more GPUs than there are": {"workers": {"nodes": 17, "gpusPerNode": 16}, "deadlines": {"startSeconds": 10}},
    "no such image": HELD | {"workers": {"image": "localhost/none:1"}},
    "no such image until the deadline": HELD | {"deadlines": {"startSeconds": 10}},
    "wrong keys": HELD | {"storage": {"secretName": "s3"}},
    "no such class": {"workers": {"resources": {"scratchStorageClass": "fast"}}},
    "no such account": {"workers": {"serviceAccountName": "trainer"}},
    "a quota of one pod": {"workers": {"nodes": 2}},
    "a quota of one pod until the deadline": {"workers": {"nodes": 2}, "deadlines": {"startSeconds": 20}},
    "a quota of no Jobs until the deadline": {"deadlines": {"startSeconds": 5}},
    "two writers": {},
}
PREPARES = {(Stage.PREPARE, 1): prepared()}
FATES = {
    "more GPUs than there are": PREPARES,
    "a quota of one pod": PREPARES,
    "a quota of one pod until the deadline": PREPARES,
    "two writers": {},
}
"""The other pods of those run on, and hold what they were given."""
KUBELET_SAYS = {
    "no such image": ("ImagePullBackOff", 'Back-off pulling image "localhost/none:1": ErrImagePull: not found'),
    "no such image until the deadline": ("ErrImagePull", "not found"),
    "wrong keys": ("CreateContainerConfigError", "couldn't find key accessKeyId in Secret ml/s3"),
}
QUOTA = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}}


@pytest.fixture(scope="module")
def jobs(control_plane: ControlPlane, operator: Operator, new_namespace: Callable[[], str]) -> dict[str, ClusterJob]:
    jobs = {name: ClusterJob(control_plane.api.client, new_namespace()) for name in (*SPECS, "a forbidden bucket")}
    for name, job in jobs.items():
        if "no Jobs" in name:
            no_jobs_allowed(job)
        elif "quota" in name:
            job.client.request("POST", RESOURCE_QUOTAS.path(job.namespace), QUOTA)
    for name, spec in SPECS.items():
        jobs[name].create(FATES.get(name, SUCCEEDS), **spec)
    for name, (reason, message) in KUBELET_SAYS.items():
        kubelet_says(jobs[name], reason, message)
    denied = Result(stage=Stage.PREPARE, attempt=1, failure=FORBIDDEN).encode().decode()
    jobs["a forbidden bucket"].create({(Stage.PREPARE, 1): Exit(ExitCode.ACCESS_DENIED, denied)})
    return jobs


def kubelet_says(job: ClusterJob, reason: str, message: str) -> None:
    """Of the one pod of preparation, which is held."""
    (pod,) = eventually(lambda: job.pods(Stage.PREPARE, 1))
    state = {"waiting": {"reason": reason, "message": message}}
    container = {"name": CONTAINER, "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": state}
    change = {"status": {"containerStatuses": [container]}}
    job.client.patch(PODS, job.namespace, pod["metadata"]["name"], change, "status")


def let_go(job: ClusterJob) -> None:
    (pod,) = job.pods(Stage.PREPARE, 1)
    change = {"metadata": {"annotations": dict.fromkeys(hold(Stage.PREPARE, 1))}}
    job.client.patch(PODS, job.namespace, pod["metadata"]["name"], change)


def explained(job: ClusterJob, reason: Reason, kind: ConditionType = ConditionType.RUNNING) -> str:
    return eventually(lambda: job.said(kind, reason), EXPLAINED)


def was_explained(job: ClusterJob, reason: Reason) -> str:
    """By a job that has ended since."""
    said = [each for version in job.versions for each in version.status.conditions]
    return next(each.message for each in said if each.type is ConditionType.RUNNING and each.reason == reason)


def failure_of(job: ClusterJob) -> tuple[str, str | None]:
    failure = job.wait(Phase.FAILED).failure
    assert failure is not None
    return failure.reason, failure.field


def test_a_forbidden_bucket_ends_the_job_and_names_its_uri(jobs: dict[str, ClusterJob]) -> None:
    status = jobs["a forbidden bucket"].wait(Phase.FAILED)
    assert status.failure == FORBIDDEN


def test_an_image_that_does_not_exist_is_named_and_pulled_once_it_does(jobs: dict[str, ClusterJob]) -> None:
    job = jobs["no such image"]
    message = explained(job, Reason.IMAGE_PULL)
    assert message.endswith("image localhost/none:1 cannot be pulled: not found (spec.workers.image)")
    let_go(job)
    job.wait(Phase.SUCCEEDED)


def test_an_image_that_never_comes_ends_the_job_at_its_start_deadline(jobs: dict[str, ClusterJob]) -> None:
    job = jobs["no such image until the deadline"]
    assert failure_of(job) == (Reason.IMAGE_PULL, "spec.workers.image")


def test_a_secret_with_wrong_keys_is_named_and_taken_once_it_is_mended(jobs: dict[str, ClusterJob]) -> None:
    job = jobs["wrong keys"]
    message = explained(job, Reason.CONTAINER_CONFIG)
    assert "couldn't find key accessKeyId in Secret ml/s3; it must hold accessKeyId and " in message
    assert message.endswith("(spec.storage.secretName)")
    let_go(job)
    job.wait(Phase.SUCCEEDED)


def test_more_gpus_than_there_are_end_the_job_at_its_start_deadline(jobs: dict[str, ClusterJob]) -> None:
    job = jobs["more GPUs than there are"]
    assert failure_of(job) == (Reason.UNSCHEDULABLE, "spec.workers.gpusPerNode")
    message = was_explained(job, Reason.UNSCHEDULABLE)
    assert message.endswith("0/4 nodes are available: 4 Insufficient nvidia.com/gpu (spec.workers.gpusPerNode)")


def test_a_quota_that_stays_too_small_ends_the_job_at_its_start_deadline(jobs: dict[str, ClusterJob]) -> None:
    job = jobs["a quota of one pod until the deadline"]
    assert failure_of(job) == (Reason.NO_PODS, "spec.workers")
    # The one pod that was let in has gone, too.
    eventually(lambda: job.pods(Stage.TRAIN, 1) == [])


def test_a_quota_that_refuses_the_job_itself_is_told_in_the_api_servers_words(jobs: dict[str, ClusterJob]) -> None:
    job = jobs["a quota of no Jobs until the deadline"]
    assert failure_of(job) == (Reason.REFUSED, "spec.deadlines.startSeconds")
    assert "is forbidden: exceeded quota: no-jobs, requested: count/jobs.batch=1" in was_explained(job, Reason.REFUSED)


def test_an_unknown_storage_class_is_named_and_used_once_it_provides_volumes(
    control_plane: ControlPlane, jobs: dict[str, ClusterJob]
) -> None:
    job = jobs["no such class"]
    message = explained(job, Reason.UNSCHEDULABLE)
    assert "no volume from StorageClass fast: it may not exist" in message
    assert message.endswith("(spec.workers.resources.scratchStorageClass)")
    control_plane.api.apply(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "fast"},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"fast-{number}"},
                "spec": {
                    "storageClassName": "fast",
                    "capacity": {"storage": "1Ti"},
                    "accessModes": ["ReadWriteOnce"],
                    "hostPath": {"path": "/nowhere"},
                },
            }
            for number in range(2)
        ),
    )
    job.wait(Phase.SUCCEEDED)
    # Volumes go with the pods of a stage that has succeeded.
    claims = Resource("v1", "persistentvolumeclaims")
    eventually(lambda: job.client.list(claims, job.namespace) == [] == job.pods(Stage.PREPARE, 1))


def test_a_second_writer_of_an_output_is_told_until_the_first_is_gone(jobs: dict[str, ClusterJob]) -> None:
    first = jobs["two writers"]
    second = ClusterJob(first.client, first.namespace, name="second")
    second.create(SUCCEEDS, suspend=True)
    message = explained(second, Reason.OUTPUT_SHARED, ConditionType.SUCCEEDED)
    assert message.startswith("FineTuneJob triage has the same output: ")
    assert message.endswith("(spec.output.uri)")
    assert second.status.phase is Phase.SUSPENDED
    first.client.delete(FINETUNE_JOBS, first.namespace, first.name)
    eventually(lambda: second.said(ConditionType.SUCCEEDED, Reason.SUSPENDED), EXPLAINED)


def test_pods_that_are_not_let_in_are_explained_and_come_once_they_are(jobs: dict[str, ClusterJob]) -> None:
    account, quota = jobs["no such account"], jobs["a quota of one pod"]
    message = explained(account, Reason.NO_PODS)
    assert "or ServiceAccount trainer does not exist;" in message
    assert message.endswith("(spec.workers.serviceAccountName)")
    message = explained(quota, Reason.NO_PODS)
    child = quota.status.attempts[-1].job_name
    assert message == (
        f"Job {child} has 1 of 2 pods, and no more are let in: most likely a ResourceQuota is too small; "
        f"`kubectl -n {quota.namespace} describe job {child}` says (spec.workers)"
    )
    account.client.create(ACCOUNTS, {"metadata": {"name": "trainer", "namespace": account.namespace}})
    quota.client.delete(RESOURCE_QUOTAS, quota.namespace, "small")
    ask_again(account)
    ask_again(quota)
    account.wait(Phase.SUCCEEDED)
    quota.wait(Phase.TRAINING)


def ask_again(job: ClusterJob) -> None:
    """The Job controller asks for missing pods ever more rarely, up to once a minute; but soon where a Job changes."""
    change = {"metadata": {"annotations": {"test/changed": "true"}}}
    job.client.patch(JOBS, job.namespace, job.status.attempts[-1].job_name, change)
