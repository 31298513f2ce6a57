"""What people and nodes do to a job and its children: the job goes on, and nothing that is not its own is touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from cluster import ControlPlane
from cluster_client import CONFIG_MAPS, JOBS, NETWORK_POLICIES, PODS, SERVICES, Manifest, Resource, eventually
from cluster_job import ClusterJob
from cluster_operator import Operator
from finetune_api.contract import Stage
from finetune_api.status import Cause, ConditionType, Phase
from finetune_operator.decide.attempts import job_name
from finetune_operator.decide.reasons import Reason
from kwok import Exit, Kwok
from kwok_results import prepared, published

pytestmark = pytest.mark.tier("controlplane")

PREPARED = {(Stage.PREPARE, 1): prepared()}
TRAINED = {(Stage.TRAIN, 1): published()}
TRAINED_AGAIN = {(Stage.TRAIN, 2): published(attempt=2)}
AGAIN = PREPARED | TRAINED_AGAIN
NEEDED = (CONFIG_MAPS, SERVICES, NETWORK_POLICIES)
"""What a gang has besides its Job."""
JOBS_IN_TRAINING: Mapping[str, tuple[Mapping[tuple[Stage, int], Exit], Mapping[str, Any]]] = {
    "deleted by hand": (AGAIN, {}),
    **{resource.plural: (PREPARED, {}) for resource in NEEDED},
    "evicted": (AGAIN, {"workers": {"nodes": 2}, "restart": {"maxRestarts": 0}}),
    "loses a pod": (AGAIN, {"workers": {"nodes": 2}}),
    "suspended": (AGAIN, {}),
    "queued again": (PREPARED, {"workers": {"nodes": 2}, "restart": {"maxRestarts": 0}}),
    "replaced": (PREPARED, {}),
    "being deleted": (AGAIN, {}),
}


@pytest.fixture(scope="module")
def training(
    control_plane: ControlPlane, operator: Operator, new_namespace: Callable[[], str]
) -> Mapping[str, ClusterJob]:
    """Jobs whose first gangs train until something happens to them; they start side by side."""
    jobs = {name: ClusterJob(control_plane.api.client, new_namespace()) for name in JOBS_IN_TRAINING}
    for name, (fates, spec) in JOBS_IN_TRAINING.items():
        jobs[name].create(fates, **spec)
    for job in jobs.values():
        job.wait(Phase.TRAINING)
    return jobs


def ends(job: ClusterJob) -> list[tuple[Cause | None, bool]]:
    """How the train attempts ended, and whether that was counted."""
    return [(each.cause, each.counted) for each in job.status.attempts if each.stage is Stage.TRAIN]


def test_a_job_deleted_by_hand_is_followed_by_the_next_attempt_once_its_pods_are_gone(
    kwok: Kwok, training: Mapping[str, ClusterJob]
) -> None:
    job = training["deleted by hand"]
    name = job.status.attempts[-1].job_name
    # A node that does not report yet: the old gang may still be running there.
    kwok.process.pause()
    try:
        job.client.delete(JOBS, job.namespace, name)
        eventually(lambda: all("deletionTimestamp" in pod["metadata"] for pod in job.pods(Stage.TRAIN, 1)))
        job.change(deadlines={"activeSeconds": 3600})
        eventually(lambda: job.status.observed_generation == 2)
        assert f"Job/{name}" not in job.children()
        assert job.pods(Stage.TRAIN, 2) == []
    finally:
        kwok.process.resume()
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [(Cause.DELETED, True), (Cause.COMPLETED, False)]


@pytest.mark.parametrize("resource", NEEDED, ids=lambda resource: resource.plural)
def test_what_a_gang_needs_is_made_again_at_once_when_somebody_deletes_it(
    training: Mapping[str, ClusterJob], resource: Resource
) -> None:
    job = training[resource.plural]
    name = job.status.attempts[-1].job_name
    before = job.client.get(resource, job.namespace, name)
    assert before is not None
    job.client.delete(resource, job.namespace, name)
    # Nothing else happens to the job, and the next look that needs no event is ten minutes away.
    again = eventually(lambda: job.client.get(resource, job.namespace, name))
    assert again["metadata"]["uid"] != before["metadata"]["uid"]
    assert {**again, "metadata": None} == {**before, "metadata": None}
    job.end_pods(Stage.TRAIN, 1, published())
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [(Cause.COMPLETED, False)]


def test_an_evicted_pod_restarts_the_gang_and_is_not_counted(training: Mapping[str, ClusterJob]) -> None:
    job = training["evicted"]
    victim = job.pods(Stage.TRAIN, 1)[0]["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": victim}}
    job.client.request("POST", PODS.path(job.namespace, victim, "eviction"), eviction)
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [(Cause.DISRUPTED, False), (Cause.COMPLETED, False)]


def test_a_pod_deleted_by_hand_restarts_the_gang_and_is_counted(training: Mapping[str, ClusterJob]) -> None:
    job = training["loses a pod"]
    job.client.delete(PODS, job.namespace, job.pods(Stage.TRAIN, 1)[1]["metadata"]["name"])
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [(Cause.CRASHED, True), (Cause.COMPLETED, False)]


def test_a_suspended_job_holds_no_pod_and_resumes_in_a_new_attempt(training: Mapping[str, ClusterJob]) -> None:
    job = training["suspended"]
    job.change(suspend=True)
    job.wait(Phase.SUSPENDED)
    assert job.pods(Stage.TRAIN, 1) == []
    job.change(suspend=False)
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [(Cause.SUSPENDED, False), (Cause.COMPLETED, False)]


def test_a_gang_that_its_queue_takes_back_waits_and_goes_on_in_the_same_job(training: Mapping[str, ClusterJob]) -> None:
    job = training["queued again"]
    name = job.status.attempts[-1].job_name
    # What Kueue does to evict: it suspends the Job, whose controller deletes the pods and counts no failure.
    job.client.patch(JOBS, job.namespace, name, {"spec": {"suspend": True}})
    job.wait(Phase.QUEUED)
    eventually(lambda: job.pods(Stage.TRAIN, 1) == [])
    job.client.patch(JOBS, job.namespace, name, {"spec": {"suspend": False}})
    job.wait(Phase.TRAINING)
    job.end_pods(Stage.TRAIN, 1, published())
    job.wait(Phase.SUCCEEDED)
    assert ends(job) == [(Cause.COMPLETED, False)]


def test_a_replaced_job_starts_afresh_while_the_old_one_still_terminates(
    control_plane: ControlPlane, training: Mapping[str, ClusterJob]
) -> None:
    job = training["replaced"]
    old = job.uid
    held(job, ["test/slow-node"])

    replace = ("replace", "--force", "--filename=-")
    done = control_plane.api.kubectl(*replace, stdin=json.dumps(job.manifest(PREPARED | TRAINED)))
    assert (done.returncode, done.stderr) == (0, "")
    job.wait(Phase.SUCCEEDED)
    assert job.uid != old
    assert [child for child in job.children() if old[:5] in child and child.startswith("Pod/")] != []

    held(job, [])
    eventually(lambda: not [child for child in job.children() if old[:5] in child])
    assert ends(job) == [(Cause.COMPLETED, False)]


def test_a_job_that_is_being_deleted_gets_no_new_child(training: Mapping[str, ClusterJob]) -> None:
    job = training["being deleted"]
    created = job.client.list(JOBS, job.namespace)
    held(job, ["test/slow-node"])
    job.delete("Foreground")
    # The gang has ended, its owner is still there: the moment to start another by mistake.
    eventually(lambda: all(pod["status"]["phase"] == "Failed" for pod in job.pods(Stage.TRAIN, 1)))
    assert job.body is not None
    held(job, [])
    eventually(lambda: job.body is None and job.children() == [])
    ever = job.client.history(JOBS, job.namespace, since=created[0]["metadata"]["resourceVersion"])
    assert {each["metadata"]["uid"] for each in ever} == {each["metadata"]["uid"] for each in created}


def held(job: ClusterJob, finalizers: list[str]) -> None:
    """Let the first gang's pods linger after their end, as on a node that is slow to report; or let them go."""
    for pod in job.pods(Stage.TRAIN, 1):
        kept = [each for each in pod["metadata"].get("finalizers", []) if each != "test/slow-node"]
        change = {"metadata": {"finalizers": [*kept, *finalizers]}}
        job.client.patch(PODS, job.namespace, pod["metadata"]["name"], change)


@dataclass(frozen=True)
class InTheWay:
    """A job, and somebody else's object under the name of a child of its first gang."""

    job: ClusterJob
    stranger: Manifest


@pytest.fixture(scope="module")
def in_the_way(
    control_plane: ControlPlane, operator: Operator, new_namespace: Callable[[], str]
) -> Mapping[Resource, InTheWay]:
    """By the stranger's kind. The operator learns of all of them at once."""
    operator.process.pause()
    found = {}
    for resource in (*NEEDED, JOBS):
        job = ClusterJob(control_plane.api.client, new_namespace())
        job.create(PREPARED | TRAINED)
        found[resource] = InTheWay(job, stranger(job, resource, job_name(job.name, job.uid, Stage.TRAIN, 1)))
    operator.process.resume()
    return found


@pytest.mark.parametrize("resource", (*NEEDED, JOBS), ids=lambda resource: resource.plural)
def test_a_stranger_under_a_name_of_ours_is_named_and_left_alone(
    in_the_way: Mapping[Resource, InTheWay], resource: Resource
) -> None:
    job, theirs = in_the_way[resource].job, in_the_way[resource].stranger
    name = theirs["metadata"]["name"]

    running = eventually(lambda: job.said(ConditionType.RUNNING, Reason.NAME_TAKEN))
    assert name in running
    assert job.client.get(resource, job.namespace, name) == theirs

    job.client.delete(resource, job.namespace, name)
    job.wait(Phase.SUCCEEDED)


def stranger(job: ClusterJob, resource: Resource, name: str) -> Manifest:
    """Somebody else's object of this name, as the API server stores it."""
    specs: dict[str, Manifest] = {
        "configmaps": {"data": {"theirs": "true"}},
        "services": {"spec": {"clusterIP": "None"}},
        "networkpolicies": {"spec": {"podSelector": {"matchLabels": {"theirs": "true"}}}},
        "jobs": {
            "spec": {
                # Its own controller, so that the Job controller writes no status either.
                "managedBy": "example.com/theirs",
                "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "theirs", "image": "theirs"}]}},
            }
        },
    }
    metadata = {"name": name, "namespace": job.namespace}
    return job.client.create(resource, {"metadata": metadata, **specs[resource.plural]})
