"""The disposable cluster does what tests rely on."""

from __future__ import annotations

import json

import pytest

from cluster import ApiServer, ControlPlane
from cluster_client import CONFIG_MAPS, JOBS, PODS, Manifest, eventually
from kwok import Exit


@pytest.mark.tier("api")
def test_kubectl_reads_what_the_client_made(api_server: ApiServer, namespace: str) -> None:
    api_server.client.create(CONFIG_MAPS, {"metadata": {"name": "made", "namespace": namespace}, "data": {"a": "b"}})
    done = api_server.kubectl("get", "configmap", "made", "--namespace", namespace, "--output=json")
    assert json.loads(done.stdout)["data"] == {"a": "b"}


@pytest.mark.tier("api")
def test_a_restarted_server_has_kept_everything(api_server: ApiServer, namespace: str) -> None:
    api_server.client.create(CONFIG_MAPS, {"metadata": {"name": "kept", "namespace": namespace}})
    api_server.stop_server()
    assert not api_server.client.ready()
    api_server.start_server()
    assert api_server.client.get(CONFIG_MAPS, namespace, "kept") is not None


def _indexed_job(namespace: str, pods: int, annotations: dict[str, str]) -> Manifest:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "gang", "namespace": namespace},
        "spec": {
            "completionMode": "Indexed",
            "completions": pods,
            "parallelism": pods,
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "template": {
                "metadata": {"annotations": annotations},
                "spec": {"restartPolicy": "Never", "containers": [{"name": "trainer", "image": "trainer:test"}]},
            },
        },
    }


def _condition(job: Manifest | None, kind: str) -> bool:
    conditions = (job or {}).get("status", {}).get("conditions", [])
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


@pytest.mark.tier("controlplane")
def test_pods_end_as_their_annotations_say(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.api.client
    says = '{"text": "last \\"words\\" <&> ü"}'
    client.create(JOBS, _indexed_job(namespace, 2, Exit(0, says, after_milliseconds=50).annotations()))
    eventually(lambda: _condition(client.get(JOBS, namespace, "gang"), "Complete"))
    ended = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in client.list(PODS, namespace)]
    assert [(end["exitCode"], end["reason"], end["message"]) for end in ended] == [(0, "Completed", says)] * 2


@pytest.mark.tier("controlplane")
def test_a_running_gang_fails_when_one_rank_is_told_to(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.api.client
    client.create(JOBS, _indexed_job(namespace, 2, {}))
    eventually(lambda: (client.get(JOBS, namespace, "gang") or {}).get("status", {}).get("ready") == 2)
    victim = client.list(PODS, namespace)[0]["metadata"]["name"]
    change = {"metadata": {"annotations": Exit(137, reason="OOMKilled").annotations()}}
    client.patch(PODS, namespace, victim, change)
    eventually(lambda: _condition(client.get(JOBS, namespace, "gang"), "Failed"))
    end = (client.get(PODS, namespace, victim) or {})["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")


@pytest.mark.tier("controlplane")
def test_a_job_deleted_in_the_foreground_leaves_no_pod(control_plane: ControlPlane, namespace: str) -> None:
    client = control_plane.api.client
    client.create(JOBS, _indexed_job(namespace, 2, {}))
    eventually(lambda: len(client.list(PODS, namespace)) == 2)
    client.delete(JOBS, namespace, "gang", propagation="Foreground")
    eventually(lambda: client.get(JOBS, namespace, "gang") is None)
    assert client.list(PODS, namespace) == []
