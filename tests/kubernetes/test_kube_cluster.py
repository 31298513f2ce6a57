"""What a real API server makes of our requests, and what we make of its refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from cluster import ApiServer
from cluster_client import FINETUNE_JOBS
from finetune_operator.apply import AlreadyExists, Conflict, Event, Kind, Manifest, Ref, Rejected
from finetune_operator.apply.kube import PAGE, KubeCluster
from finetune_operator.lease import NAME, Lease
from jobs import make_body

pytestmark = pytest.mark.tier("api")

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


async def connect(api_server: ApiServer, identity: str = "tests") -> KubeCluster:
    environ = {"KUBECONFIG": str(api_server.kubeconfig)}
    return await KubeCluster.connect(environ, now=lambda: NOW, identity=identity)


@pytest.fixture
async def cluster(api_server: ApiServer) -> AsyncIterator[KubeCluster]:
    cluster = await connect(api_server)
    yield cluster
    await cluster.close()


def config_map(namespace: str, name: str = "a", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "data": {"key": "value"},
    }


@pytest.fixture
def job(api_server: ApiServer, crd: None, namespace: str) -> Iterator[Manifest]:
    """A FineTuneJob as it was created; nobody acts on it, and nobody is to later."""
    body = make_body("triage") | {"metadata": {"name": "triage", "namespace": namespace}}
    yield api_server.client.create(FINETUNE_JOBS, body)
    api_server.client.delete(FINETUNE_JOBS, namespace, "triage")


async def test_what_was_created_can_be_read_and_belongs_to_our_field_manager(
    api_server: ApiServer, cluster: KubeCluster, namespace: str
) -> None:
    created = await cluster.create(config_map(namespace, color="red"))
    assert await cluster.get(Ref(Kind.CONFIG_MAP, namespace, "a")) == created
    assert created["data"] == {"key": "value"}
    assert [each["manager"] for each in created["metadata"]["managedFields"]] == ["finetune-operator"]


async def test_a_field_that_the_server_does_not_know_is_refused_by_name(cluster: KubeCluster, namespace: str) -> None:
    with pytest.raises(Rejected, match='unknown field "datta"'):
        await cluster.create({**config_map(namespace), "datta": {}})
    assert await cluster.get(Ref(Kind.CONFIG_MAP, namespace, "a")) is None


async def test_a_taken_name_and_an_absent_namespace_are_told_apart(cluster: KubeCluster, namespace: str) -> None:
    await cluster.create(config_map(namespace))
    with pytest.raises(AlreadyExists, match="already exists"):
        await cluster.create(config_map(namespace))
    with pytest.raises(Rejected, match='namespaces "nowhere" not found'):
        await cluster.create(config_map("nowhere"))


async def test_only_the_object_that_was_meant_is_deleted(cluster: KubeCluster, namespace: str) -> None:
    ref = Ref(Kind.CONFIG_MAP, namespace, "a")
    created = await cluster.create(config_map(namespace))
    with pytest.raises(Conflict, match="the UID in the precondition"):
        await cluster.delete(ref, uid="00000000-0000-0000-0000-000000000000")
    assert await cluster.get(ref) == created
    await cluster.delete(ref, uid=created["metadata"]["uid"])
    await cluster.delete(ref, uid=created["metadata"]["uid"])


async def test_labels_and_namespaces_select_what_is_listed(
    cluster: KubeCluster, namespace: str, api_server: ApiServer
) -> None:
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        await cluster.create(config_map(namespace, name, color=color, test=namespace))
    red = {"color": "red", "test": namespace}
    assert [each["metadata"]["name"] for each in await cluster.list(Kind.CONFIG_MAP, namespace, red)] == ["a", "c"]
    assert [each["metadata"]["name"] for each in await cluster.list(Kind.CONFIG_MAP, None, red)] == ["a", "c"]
    assert await cluster.list(Kind.CONFIG_MAP, namespace, {"color": "green"}) == []


async def test_a_list_longer_than_a_page_is_complete(cluster: KubeCluster, namespace: str) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(PAGE + 3):
            group.create_task(cluster.create(config_map(namespace, f"many-{number}", many="true")))
    listed = await cluster.list_metadata(Kind.CONFIG_MAP, namespace, {"many": "true"})
    assert len({each["metadata"]["uid"] for each in listed}) == PAGE + 3


async def test_of_metadata_lists_nothing_but_metadata_comes(cluster: KubeCluster, namespace: str) -> None:
    assert await cluster.list_metadata(Kind.CONFIG_MAP, namespace, {"color": "red"}) == []
    created = await cluster.create(config_map(namespace, color="red"))
    (listed,) = await cluster.list_metadata(Kind.CONFIG_MAP, namespace, {"color": "red"})
    assert listed == {"metadata": created["metadata"]} | {
        key: value for key, value in listed.items() if key in ("apiVersion", "kind")
    }


async def test_a_status_is_written_only_onto_the_version_that_was_read(
    cluster: KubeCluster, namespace: str, job: Manifest
) -> None:
    ref = Ref(Kind.FINE_TUNE_JOB, namespace, "triage")
    version = job["metadata"]["resourceVersion"]
    written = await cluster.write_status(ref, {"observedGeneration": 1, "phase": "Pending"}, resource_version=version)
    assert written["status"] == {"observedGeneration": 1, "phase": "Pending"}
    assert written["spec"] == job["spec"]
    assert written["metadata"]["generation"] == job["metadata"]["generation"]
    with pytest.raises(Conflict, match="the object has been modified"):
        await cluster.write_status(ref, {"observedGeneration": 1}, resource_version=version)
    assert await cluster.get(ref) == written


async def test_a_status_that_breaks_the_schema_is_refused(cluster: KubeCluster, namespace: str, job: Manifest) -> None:
    ref = Ref(Kind.FINE_TUNE_JOB, namespace, "triage")
    version = job["metadata"]["resourceVersion"]
    with pytest.raises(Rejected, match=r"status\.phase"):
        await cluster.write_status(ref, {"observedGeneration": 1, "phase": "Happy"}, resource_version=version)


async def test_the_status_of_a_job_that_is_gone_is_a_conflict(crd: None, cluster: KubeCluster, namespace: str) -> None:
    with pytest.raises(Conflict, match="is gone"):
        await cluster.write_status(Ref(Kind.FINE_TUNE_JOB, namespace, "triage"), {}, resource_version="1")


async def test_kubectl_describe_shows_our_events(
    api_server: ApiServer, cluster: KubeCluster, namespace: str, job: Manifest
) -> None:
    await cluster.post_event(job, Event(type="Warning", reason="OutOfMemory", message="ü" * 3000))
    described = api_server.kubectl("describe", "ftj", "triage", f"--namespace={namespace}").stdout
    line = next(line for line in described.splitlines() if "OutOfMemory" in line)
    assert line.split()[:2] == ["Warning", "OutOfMemory"]
    assert "finetune.dev/operator" in line
    assert line.endswith("üüü…")


async def test_of_many_candidates_one_holds_the_lease_and_after_it_another(
    api_server: ApiServer, namespace: str
) -> None:
    async with AsyncExitStack() as stack:
        leases = []
        for identity in "abcd":
            cluster = await connect(api_server, identity)
            stack.push_async_callback(cluster.close)
            leases.append(
                Lease(
                    cluster=cluster,
                    namespace=namespace,
                    identity=identity,
                    now=lambda: NOW,
                    clock=lambda: 0.0,
                    sleep=lambda seconds: asyncio.sleep(0.01),
                )
            )
        tasks = {asyncio.create_task(lease.acquire(), name=lease.identity) for lease in leases}
        for _ in leases:
            done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=30)
            (holder,) = (lease for lease in leases if lease.held)
            assert {task.get_name() for task in done} == {holder.identity}
            stored = await cluster.get_lease(namespace, NAME)
            assert stored is not None
            assert stored["spec"]["holderIdentity"] == holder.identity
            await holder.release()
        assert tasks == set()
