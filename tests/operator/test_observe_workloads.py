"""What of Kueue's Workloads reaches a decision, from bodies as Kueue 0.19 writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from fake_cluster import FakeCluster
from finetune_operator.apply import Body, Kind, Rejected
from finetune_operator.observe.workloads import complaint, workloads_of
from observed import NOW, a_job

HELD = a_job(suspended=True, queue="gpus")
FULL = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 2 more needed"
PREEMPTED = "Preempted to accommodate a workload (UID: 1, JobUID: 2) due to prioritization in the ClusterQueue"
CHECKS = "The workload has not all checks ready"


def workload(*conditions: tuple[str, str, str, str], owner: str = "job-1", **spec: Any) -> dict[str, Any]:
    """`conditions`: type, status, reason, message."""
    return {
        "apiVersion": "kueue.x-k8s.io/v1beta2",
        "kind": "Workload",
        "metadata": {
            "name": f"job-of-{owner}",
            "namespace": "ml",
            "labels": {"kueue.x-k8s.io/job-uid": "job-1"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "uid": owner, "controller": True}],
        },
        "spec": {"queueName": "gpus", "podSets": [], **spec},
        "status": {
            "conditions": [
                {"type": kind, "status": status, "reason": reason, "message": message}
                for kind, status, reason, message in conditions
            ]
        },
    }


def cluster_with(*bodies: Mapping[str, Any]) -> FakeCluster:
    cluster = FakeCluster(NOW)
    for body in bodies:
        cluster.add(body)
    return cluster


async def said_of(body: Mapping[str, Any]) -> tuple[bool, str, str, str | None]:
    (seen,) = await workloads_of((HELD,), "ml", cluster_with(body))
    assert seen.job_uid == "job-1"
    return seen.active, seen.reason, seen.message, seen.evicted


async def test_before_kueue_has_looked_it_says_nothing() -> None:
    assert await said_of(workload()) == (True, "", "", None)


async def test_waiting_for_quota() -> None:
    body = workload(("QuotaReserved", "False", "Pending", FULL))
    assert await said_of(body) == (True, "Pending", FULL, None)


async def test_waiting_for_an_admission_check_with_quota_in_hand() -> None:
    body = workload(
        ("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue gpus"),
        ("Admitted", "False", "UnsatisfiedAdmissionChecks", CHECKS),
    )
    assert await said_of(body) == (True, "UnsatisfiedAdmissionChecks", CHECKS, None)


async def test_preempted() -> None:
    body = workload(
        ("QuotaReserved", "False", "Pending", PREEMPTED),
        ("Admitted", "False", "NoReservation", "The workload has no reservation"),
        ("Evicted", "True", "Preempted", PREEMPTED),
        ("Preempted", "True", "InClusterQueue", PREEMPTED),
    )
    assert await said_of(body) == (True, "Pending", PREEMPTED, "Preempted")


async def test_preempted_while_its_pods_still_hold_the_quota() -> None:
    body = workload(
        ("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue gpus"),
        ("Admitted", "True", "Admitted", "The workload is admitted"),
        ("Evicted", "True", "Preempted", PREEMPTED),
    )
    assert await said_of(body) == (True, "Preempted", PREEMPTED, "Preempted")


async def test_an_eviction_is_over_once_there_is_quota_again() -> None:
    body = workload(("Evicted", "False", "QuotaReserved", f"Previously: {PREEMPTED}"))
    assert await said_of(body) == (True, "", "", None)


async def test_deactivated() -> None:
    words = "The workload is deactivated"
    body = workload(("QuotaReserved", "False", "Pending", words), active=False)
    assert await said_of(body) == (False, "Pending", words, None)


async def test_a_label_is_not_believed() -> None:
    assert await workloads_of((HELD,), "ml", cluster_with(workload(owner="stranger"))) == ()


async def test_of_a_job_that_runs_nothing_is_asked() -> None:
    class Silent(FakeCluster):
        async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
            raise AssertionError("asked")

    assert await workloads_of((a_job(), a_job(suspended=True, deletion_time=NOW)), "ml", Silent(NOW)) == ()


class WithoutKueue(FakeCluster):
    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Sequence[Body]:
        if kind is Kind.WORKLOAD and namespace != "queued":
            raise Rejected("HTTP 404: 404 page not found")
        return await super().list(kind, namespace, labels)


async def test_without_kueue_there_is_nothing_to_read_and_nothing_fails() -> None:
    assert await workloads_of((HELD,), "ml", WithoutKueue(NOW)) == ()


@pytest.mark.parametrize(("namespaces", "complains"), [((), True), (("queued",), False), (("queued", "ml"), True)])
async def test_what_cannot_be_listed_is_named(namespaces: tuple[str, ...], *, complains: bool) -> None:
    said = "workloads of kueue.x-k8s.io/v1beta2 cannot be listed: HTTP 404: 404 page not found"
    assert await complaint(namespaces, WithoutKueue(NOW)) == (said if complains else None)
