"""Jobs that wait their turn: what the real Kueue decides about them, and what their status says of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cluster_client import JOBS, PODS, Manifest, eventually
from cluster_job import ClusterJob
from finetune_api.contract import Stage
from finetune_api.status import Cause, Condition, ConditionStatus, ConditionType, Phase
from kueue_queues import WORKLOADS, Queues
from kwok import Exit
from kwok_results import crashed, prepared, published

pytestmark = [pytest.mark.tier("kueue"), pytest.mark.tier("controlplane")]

PREPARE, TRAIN, TRAIN_2 = (Stage.PREPARE, 1), (Stage.TRAIN, 1), (Stage.TRAIN, 2)
TWO_NODES = {"nodes": 2, "resources": {"cpu": "2", "memory": "1Gi", "scratch": "1Gi"}}
# Kueue counts every resource that pods ask for, and theirs is ephemeral storage, too.
ROOM = {"memory": "1Ti", "ephemeral-storage": "1Ti"}
GANG = {"cpu": "4", **ROOM}
"""Exactly one gang of two pods."""


@pytest.fixture
def gpus(queues: Queues, namespace: str) -> str:
    """The ClusterQueue behind the LocalQueue `gpus`: it has room for one gang at a time."""
    queues.cluster_queue(namespace, GANG)
    queues.local_queue(namespace, "gpus", namespace)
    return namespace


def condition(job: ClusterJob, kind: ConditionType) -> Condition:
    return next(each for each in job.status.conditions if each.type is kind)


def waits(job: ClusterJob, reason: str, words: str) -> Condition:
    """The condition Admitted, once it is False for this reason and its message holds these words."""

    def said() -> Condition | None:
        status = job.status
        for each in status.conditions:
            if each.type is ConditionType.ADMITTED and each.reason == reason and words in each.message:
                return each
        return None

    said_so = eventually(said)
    assert said_so.status is ConditionStatus.FALSE
    assert job.status.phase is Phase.QUEUED
    return said_so


def ends(job: ClusterJob) -> list[tuple[Stage, int, Cause | None, bool]]:
    return [(each.stage, each.number, each.cause, each.counted) for each in job.status.attempts]


def train_job(job: ClusterJob, attempt: int = 1) -> Manifest:
    name = next(each.job_name for each in job.status.attempts if (each.stage, each.number) == (Stage.TRAIN, attempt))
    found = job.client.get(JOBS, job.namespace, name)
    assert found is not None
    return found


def create(job: ClusterJob, *, fates: Mapping[tuple[Stage, int], Exit], **spec: Any) -> None:
    """Of two pods, trained in the queue `gpus` unless `spec` says otherwise."""
    job.create(fates, **{"workers": TWO_NODES, "scheduling": {"queueName": "gpus"}, **spec})


def training(job: ClusterJob) -> None:
    job.wait(Phase.TRAINING)


class Rival:
    """A Job of somebody else's that takes what one gang takes."""

    def __init__(self, job: ClusterJob, priority: str | None = None) -> None:
        self._client, self.namespace = job.client, job.namespace
        labels = {"kueue.x-k8s.io/queue-name": "gpus"}
        if priority is not None:
            labels["kueue.x-k8s.io/priority-class"] = priority
        container = {"name": "work", "image": "work", "resources": {"requests": {"cpu": "4"}}}
        pods = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        metadata = {"name": "rival", "namespace": job.namespace, "labels": labels}
        self._client.create(JOBS, {"metadata": metadata, "spec": {"template": pods}})

    @property
    def admitted(self) -> bool:
        found = self._client.get(JOBS, self.namespace, "rival")
        assert found is not None
        return not found["spec"]["suspend"]

    def leave(self) -> None:
        self._client.delete(JOBS, self.namespace, "rival")


def test_each_stage_is_admitted_through_a_queue_of_its_own(job: ClusterJob, queues: Queues, gpus: str) -> None:
    queues.cluster_queue(f"{gpus}-cpus", GANG)
    queues.local_queue(gpus, "cpus", f"{gpus}-cpus")
    create(
        job,
        fates={PREPARE: prepared(), TRAIN: published()},
        scheduling={"queueName": "gpus", "prepareQueueName": "cpus"},
    )
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [(*PREPARE, Cause.COMPLETED, False), (*TRAIN, Cause.COMPLETED, False)]
    admitted = condition(job, ConditionType.ADMITTED)
    assert (admitted.status, admitted.reason) == (ConditionStatus.TRUE, "Admitted")
    assert [workload["spec"]["queueName"] for workload in queues.workloads(gpus)] == ["cpus", "gpus"]


def test_while_a_job_waits_its_status_says_why_in_kueues_own_words(job: ClusterJob, queues: Queues, gpus: str) -> None:
    rival = Rival(job)
    eventually(lambda: rival.admitted)
    create(job, fates={PREPARE: prepared(), TRAIN: published()})
    waits(job, "Queued", "insufficient unused quota for cpu in flavor")
    assert condition(job, ConditionType.RECONCILING).status is ConditionStatus.TRUE
    assert job.pods(*TRAIN) == []
    rival.leave()
    job.wait(Phase.SUCCEEDED)


def test_the_default_queue_of_a_namespace_holds_every_job(job: ClusterJob, queues: Queues, namespace: str) -> None:
    queues.cluster_queue(namespace, {"cpu": "1", **ROOM})
    queues.local_queue(namespace, "default", namespace)
    create(job, fates={PREPARE: prepared(), TRAIN: published()}, scheduling={})
    assert "-prepare-1 waits in queue default" in waits(job, "Queued", "maximum capacity (1)").message
    queues.resize(namespace, GANG)
    job.wait(Phase.SUCCEEDED)


def test_a_queue_that_comes_later_is_waited_for(job: ClusterJob, queues: Queues, namespace: str) -> None:
    create(job, fates={PREPARE: prepared(), TRAIN: published()})
    waits(job, "Inadmissible", "LocalQueue gpus doesn't exist")
    reconciling = condition(job, ConditionType.RECONCILING)
    assert (reconciling.status, reconciling.reason) == (ConditionStatus.TRUE, "Inadmissible")
    queues.local_queue(namespace, "gpus", namespace)
    waits(job, "Inadmissible", f"ClusterQueue {namespace} doesn't exist")
    queues.cluster_queue(namespace, GANG)
    job.wait(Phase.SUCCEEDED)


def test_a_queue_that_never_comes_ends_the_job_at_its_deadline(job: ClusterJob, namespace: str) -> None:
    create(job, fates={PREPARE: prepared()}, deadlines={"pendingSeconds": 5})
    status = job.wait(Phase.FAILED)
    assert status.failure is not None
    assert (status.failure.reason, status.failure.field) == ("QueueDeadline", "spec.scheduling.queueName")
    assert "LocalQueue gpus doesn't exist" in status.failure.message


def test_what_a_queue_could_never_give_is_said(job: ClusterJob, queues: Queues, namespace: str) -> None:
    queues.cluster_queue(namespace, {"cpu": "3", **ROOM})
    queues.local_queue(namespace, "gpus", namespace)
    create(job, fates={PREPARE: prepared(), TRAIN: published()})
    waits(job, "Queued", "current podset request (4) > maximum capacity (3)")
    queues.resize(namespace, GANG)
    job.wait(Phase.SUCCEEDED)


def test_a_resource_that_the_queue_does_not_cover_is_named(job: ClusterJob, queues: Queues, namespace: str) -> None:
    queues.cluster_queue(namespace, {"cpu": "4", "memory": "1Ti"})
    queues.local_queue(namespace, "gpus", namespace)
    create(job, fates={PREPARE: prepared(), TRAIN: published()})
    waits(job, "Queued", "resource ephemeral-storage unavailable in ClusterQueue")
    queues.resize(namespace, GANG)
    job.wait(Phase.SUCCEEDED)


def test_a_preempted_job_goes_on_in_the_same_job(job: ClusterJob, queues: Queues, gpus: str) -> None:
    queues.priority(f"{gpus}-low", 1)
    queues.priority(f"{gpus}-high", 100)
    create(job, fates={PREPARE: prepared()}, scheduling={"queueName": "gpus", "priorityClass": f"{gpus}-low"})
    training(job)
    uid = train_job(job)["metadata"]["uid"]
    rival = Rival(job, f"{gpus}-high")
    waits(job, "Preempted", "")
    eventually(lambda: rival.admitted)
    eventually(lambda: job.pods(*TRAIN) == [])
    assert condition(job, ConditionType.RUNNING).status is ConditionStatus.FALSE
    rival.leave()
    training(job)
    assert train_job(job)["metadata"]["uid"] == uid
    job.end_pods(*TRAIN, published())
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [(*PREPARE, Cause.COMPLETED, False), (*TRAIN, Cause.COMPLETED, False)]


def test_a_gang_that_was_half_done_when_it_was_preempted_starts_again_whole(
    job: ClusterJob, queues: Queues, gpus: str
) -> None:
    queues.priority(f"{gpus}-half", 1)
    queues.priority(f"{gpus}-over", 100)
    create(
        job,
        fates={PREPARE: prepared(), TRAIN_2: published(attempt=2)},
        scheduling={"queueName": "gpus", "priorityClass": f"{gpus}-half"},
    )
    training(job)
    first = job.pods(*TRAIN)[0]["metadata"]["name"]
    done = {"metadata": {"annotations": {"kubelet.test/exit": "0"}}}
    job.client.patch(PODS, job.namespace, first, done)
    eventually(lambda: train_job(job)["status"].get("succeeded") == 1)
    rival = Rival(job, f"{gpus}-over")
    eventually(lambda: rival.admitted)
    rival.leave()
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [
        (*PREPARE, Cause.COMPLETED, False),
        (*TRAIN, Cause.SUSPENDED, False),
        (*TRAIN_2, Cause.COMPLETED, False),
    ]


def test_after_a_crash_a_job_queues_behind_the_others_and_says_so(
    job: ClusterJob, queues: Queues, namespace: str
) -> None:
    # With the default strategy the restarted job was once seen to pass one that had waited for longer.
    queues.cluster_queue(namespace, GANG, queueingStrategy="StrictFIFO")
    queues.local_queue(namespace, "gpus", namespace)
    create(job, fates={PREPARE: prepared(), TRAIN_2: published(attempt=2)})
    training(job)
    rival = Rival(job)
    eventually(lambda: len(queues.workloads(namespace)) == 2)
    job.end_pods(*TRAIN, crashed(100))
    eventually(lambda: rival.admitted)
    waits(job, "RequeuedAfterFailure", "insufficient unused quota for cpu in flavor")
    rival.leave()
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [
        (*PREPARE, Cause.COMPLETED, False),
        (*TRAIN, Cause.CRASHED, True),
        (*TRAIN_2, Cause.COMPLETED, False),
    ]


def test_what_the_user_suspends_gives_its_quota_back(job: ClusterJob, queues: Queues, gpus: str) -> None:
    create(job, fates={PREPARE: prepared(), TRAIN_2: published(attempt=2)})
    training(job)
    rival = Rival(job)
    job.change(suspend=True)
    job.wait(Phase.SUSPENDED)
    eventually(lambda: rival.admitted)
    assert [workload["metadata"]["ownerReferences"][0]["name"] for workload in queues.workloads(gpus)] == ["rival"]
    rival.leave()
    job.change(suspend=False)
    job.wait(Phase.SUCCEEDED)


def test_what_is_deleted_while_it_waits_leaves_no_workload(job: ClusterJob, namespace: str) -> None:
    create(job, fates={PREPARE: prepared()})
    waits(job, "Inadmissible", "LocalQueue gpus doesn't exist")
    job.delete()
    eventually(lambda: job.client.list(WORKLOADS, namespace) == [] and job.children() == [])
