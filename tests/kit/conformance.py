"""What any cluster must do for us: one table, for processes on this machine and for a real control plane."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

import pytest

from finetune_api.contract import LABEL_JOB, LABEL_MANAGED
from finetune_operator.apply import AlreadyExists, Body, Cluster, Conflict, Kind, Manifest, Ref
from jobs import make_body

T = TypeVar("T")
ABSENT_UID = "00000000-0000-0000-0000-000000000000"


class World(Protocol):
    """A cluster whose pods run until the test says how they end."""

    cluster: Cluster
    namespace: str

    def container(self) -> Manifest:
        """Of pods that run until told."""

    async def finish(self, pod: Body, exit_code: int, says: str = "") -> None:
        """Let the pod's container end so, with these last words."""


Case = Callable[[World], Awaitable[None]]
CASES: list[Case] = []


def case(function: Case) -> Case:
    """A row of the table; its name is the sentence that it proves."""
    CASES.append(function)
    return function


def job_manifest(world: World, *, name: str = "work", pods: int = 2, **spec: Any) -> Manifest:
    """A Job as we render them, in the parts that the Job controller reads."""
    labels = {LABEL_MANAGED: "true", LABEL_JOB: name}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": world.namespace, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "restartPolicy": "Never",
                    "subdomain": name,
                    "terminationGracePeriodSeconds": 5,
                    "containers": [world.container()],
                },
            },
            **spec,
        },
    }


def config_map(world: World, name: str, owner: Body | None = None) -> Manifest:
    metadata: Manifest = {
        "name": name,
        "namespace": world.namespace,
        "labels": {LABEL_MANAGED: "true", LABEL_JOB: name},
    }
    if owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": "value"}}


async def until(probe: Callable[[], Awaitable[T]]) -> T:
    """The first true answer."""
    async with asyncio.timeout(60):
        while not (found := await probe()):
            await asyncio.sleep(0.05)
        return found


def conditions(body: Body | None) -> Mapping[str, str]:
    """Condition type → status."""
    return {} if body is None else {c["type"]: c["status"] for c in body.get("status", {}).get("conditions", ())}


async def pods_of(world: World, name: str = "work") -> list[Body]:
    """By index."""
    pods = await world.cluster.list(Kind.POD, world.namespace, {"batch.kubernetes.io/job-name": name})
    return sorted(pods, key=lambda pod: pod["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"])


async def running_pods(world: World, name: str = "work", count: int = 2) -> list[Body]:
    async def all_run() -> list[Body]:
        pods = [p for p in await pods_of(world, name) if p["status"].get("phase") == "Running"]
        return pods if len(pods) == count else []

    return await until(all_run)


async def job_with(world: World, condition: str, name: str = "work") -> Body:
    async def reached() -> Body | None:
        job = await world.cluster.get(Ref(Kind.JOB, world.namespace, name))
        return job if conditions(job).get(condition) == "True" else None

    found = await until(reached)
    assert found is not None
    return found


async def gone(world: World, *refs: Ref) -> None:
    async def all_gone() -> bool:
        return all([await world.cluster.get(ref) is None for ref in refs])

    await until(all_gone)


@case
async def what_is_created_is_found_under_its_name_with_a_uid_and_a_version(world: World) -> None:
    created = await world.cluster.create(config_map(world, "first"))
    found = await world.cluster.get(Ref(Kind.CONFIG_MAP, world.namespace, "first"))
    assert found is not None
    assert found["data"] == {"key": "value"}
    assert found["metadata"]["uid"] == created["metadata"]["uid"]
    assert found["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]
    assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")


@case
async def what_was_never_created_is_none(world: World) -> None:
    assert await world.cluster.get(Ref(Kind.JOB, world.namespace, "absent")) is None


@case
async def a_name_is_given_once(world: World) -> None:
    await world.cluster.create(config_map(world, "first"))
    with pytest.raises(AlreadyExists):
        await world.cluster.create(config_map(world, "first"))


@case
async def lists_hold_what_has_all_the_labels_in_the_namespace(world: World) -> None:
    for name in ("first", "second"):
        await world.cluster.create(config_map(world, name))

    async def names(namespace: str | None, **labels: str) -> set[str]:
        selector = {LABEL_MANAGED: "true", **labels}
        return {body["metadata"]["name"] for body in await world.cluster.list(Kind.CONFIG_MAP, namespace, selector)}

    assert await names(world.namespace) == {"first", "second"}
    assert await names(None) >= {"first", "second"}
    assert await names("elsewhere") == set()
    found = await world.cluster.list(Kind.CONFIG_MAP, world.namespace, {LABEL_MANAGED: "true", LABEL_JOB: "second"})
    assert [(body["kind"], body["metadata"]["name"]) for body in found] == [("ConfigMap", "second")]


@case
async def a_delete_meant_for_another_object_of_that_name_is_refused(world: World) -> None:
    created = await world.cluster.create(config_map(world, "first"))
    ref = Ref(Kind.CONFIG_MAP, world.namespace, "first")
    with pytest.raises(Conflict):
        await world.cluster.delete(ref, uid=ABSENT_UID)
    found = await world.cluster.get(ref)
    assert found is not None
    assert found["metadata"]["uid"] == created["metadata"]["uid"]


@case
async def deleting_what_is_gone_succeeds(world: World) -> None:
    await world.cluster.delete(Ref(Kind.JOB, world.namespace, "absent"), uid=ABSENT_UID)


@case
async def a_job_starts_one_pod_for_each_index(world: World) -> None:
    job = await world.cluster.create(job_manifest(world))
    pods = await running_pods(world)
    for index, pod in enumerate(pods):
        metadata = pod["metadata"]
        assert metadata["name"].startswith(f"work-{index}-")
        assert metadata["labels"][LABEL_JOB] == "work"
        assert metadata["labels"]["batch.kubernetes.io/job-completion-index"] == str(index)
        assert [(o["kind"], o["uid"], o["controller"]) for o in metadata["ownerReferences"]] == [
            ("Job", job["metadata"]["uid"], True)
        ]
        assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == (f"work-{index}", "work")
        rank = [entry for entry in pod["spec"]["containers"][0]["env"] if entry["name"] == "JOB_COMPLETION_INDEX"]
        path = "metadata.labels['batch.kubernetes.io/job-completion-index']"
        assert [entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in rank] == [path]
        assert conditions(pod)["Ready"] == "True"
        assert "running" in pod["status"]["containerStatuses"][0]["state"]

    async def all_ready() -> Body | None:
        body = await world.cluster.get(Ref(Kind.JOB, world.namespace, "work"))
        return body if body is not None and body["status"].get("ready") == 2 else None

    found = await until(all_ready)
    assert found is not None
    assert found["status"]["active"] == 2


@case
async def a_job_is_complete_when_every_index_has_succeeded(world: World) -> None:
    await world.cluster.create(job_manifest(world))
    first, second = await running_pods(world)
    await world.finish(first, 0, "one")
    await world.finish(second, 0, "two")
    job = await job_with(world, "Complete")
    assert "Failed" not in conditions(job)
    assert (job["status"]["succeeded"], job["status"]["completedIndexes"]) == (2, "0,1")
    assert "completionTime" in job["status"]
    assert [pod["status"]["phase"] for pod in await pods_of(world)] == ["Succeeded", "Succeeded"]


@case
async def a_pod_tells_how_it_ended_and_its_last_words(world: World) -> None:
    await world.cluster.create(job_manifest(world, pods=1))
    (pod,) = await running_pods(world, count=1)
    await world.finish(pod, 66, "last words")
    await job_with(world, "Failed")
    (pod,) = await pods_of(world)
    assert pod["status"]["phase"] == "Failed"
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (66, "Error", "last words")


@case
async def when_one_pod_fails_the_others_are_stopped_and_only_then_has_the_job_failed(world: World) -> None:
    await world.cluster.create(job_manifest(world))
    first, second = await running_pods(world)
    await world.finish(second, 1)
    job = await job_with(world, "Failed")
    assert conditions(job)["FailureTarget"] == "True"
    (failed,) = [c for c in job["status"]["conditions"] if c["type"] == "Failed"]
    assert failed["reason"] == "BackoffLimitExceeded"
    assert "active" not in job["status"]
    assert (job["status"]["failed"], job["status"]["terminating"]) == (2, 0)
    await gone(world, Ref(Kind.POD, world.namespace, first["metadata"]["name"]))
    (left,) = await pods_of(world)
    assert left["metadata"]["name"] == second["metadata"]["name"]


@case
async def a_running_pod_that_somebody_deletes_has_failed(world: World) -> None:
    await world.cluster.create(job_manifest(world, pods=1))
    (pod,) = await running_pods(world, count=1)
    ref = Ref(Kind.POD, world.namespace, pod["metadata"]["name"])
    await world.cluster.delete(ref, uid=pod["metadata"]["uid"])
    await job_with(world, "Failed")
    await gone(world, ref)


@case
async def a_job_deleted_in_the_foreground_goes_after_its_pods(world: World) -> None:
    job = await world.cluster.create(job_manifest(world))
    await running_pods(world)
    ref = Ref(Kind.JOB, world.namespace, "work")
    await world.cluster.delete(ref, uid=job["metadata"]["uid"])
    body = await world.cluster.get(ref)
    assert body is None or "deletionTimestamp" in body["metadata"]
    await gone(world, ref)
    assert await pods_of(world) == []


@case
async def a_job_created_suspended_starts_no_pod(world: World) -> None:
    await world.cluster.create(job_manifest(world, suspend=True))
    job = await job_with(world, "Suspended")
    assert "active" not in job["status"]
    assert await pods_of(world) == []


@case
async def after_a_delete_the_name_is_free_for_a_job_that_runs(world: World) -> None:
    ref = Ref(Kind.JOB, world.namespace, "work")
    suspended = await world.cluster.create(job_manifest(world, suspend=True))
    await world.cluster.delete(ref, uid=suspended["metadata"]["uid"])
    await gone(world, ref)
    resumed = await world.cluster.create(job_manifest(world))
    pods = await running_pods(world)
    assert {pod["metadata"]["ownerReferences"][0]["uid"] for pod in pods} == {resumed["metadata"]["uid"]}
    assert resumed["metadata"]["uid"] != suspended["metadata"]["uid"]


@case
async def children_go_when_their_owner_goes(world: World) -> None:
    owner = await world.cluster.create(config_map(world, "owner"))
    await world.cluster.create(config_map(world, "child", owner))
    await world.cluster.create(config_map(world, "stranger"))
    await world.cluster.delete(Ref(Kind.CONFIG_MAP, world.namespace, "owner"), uid=owner["metadata"]["uid"])
    refs = [Ref(Kind.CONFIG_MAP, world.namespace, name) for name in ("owner", "child", "stranger")]
    await gone(world, *refs[:2])
    assert await world.cluster.get(refs[2]) is not None


@case
async def a_child_of_an_owner_that_is_gone_does_not_stay(world: World) -> None:
    owner = await world.cluster.create(config_map(world, "owner"))
    await world.cluster.delete(Ref(Kind.CONFIG_MAP, world.namespace, "owner"), uid=owner["metadata"]["uid"])
    await gone(world, Ref(Kind.CONFIG_MAP, world.namespace, "owner"))
    await world.cluster.create(config_map(world, "child", owner))
    await gone(world, Ref(Kind.CONFIG_MAP, world.namespace, "child"))


@case
async def a_status_is_replaced_whole_and_only_over_the_version_that_was_read(world: World) -> None:
    body = make_body("tune", metadata={"namespace": world.namespace})
    created = await world.cluster.create(
        {key: body[key] for key in ("apiVersion", "kind", "spec")}
        | {"metadata": {"name": "tune", "namespace": world.namespace}}
    )
    ref = Ref(Kind.FINE_TUNE_JOB, world.namespace, "tune")
    version = created["metadata"]["resourceVersion"]
    written = await world.cluster.write_status(ref, {"observedGeneration": 1, "run": "abc"}, resource_version=version)
    assert written["status"]["run"] == "abc"
    assert written["metadata"]["generation"] == created["metadata"]["generation"] == 1
    with pytest.raises(Conflict):
        await world.cluster.write_status(ref, {"observedGeneration": 1, "run": "def"}, resource_version=version)
    found = await world.cluster.get(ref)
    assert found is not None
    assert found["status"]["run"] == "abc"
    version = written["metadata"]["resourceVersion"]
    replaced = await world.cluster.write_status(ref, {"observedGeneration": 1}, resource_version=version)
    assert replaced["status"] == {"observedGeneration": 1}
    absent = Ref(Kind.FINE_TUNE_JOB, world.namespace, "absent")
    with pytest.raises(Conflict):
        await world.cluster.write_status(absent, {"observedGeneration": 1}, resource_version=version)
