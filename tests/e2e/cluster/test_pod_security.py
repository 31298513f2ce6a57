"""Everything here runs where Pod Security `restricted` is enforced: it lets our pods pass, and refuses others."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from cluster_client import Manifest
from finetune_api.contract import Stage
from jobs import merge
from real.access import Access, Refused
from real.release import Release
from real.store import Store
from real.story import Finished

pytestmark = pytest.mark.tier("node")

LEVEL = "pod-security.kubernetes.io/enforce"


def dry_run(access: Access, manifest: Manifest) -> str:
    """All that the API server says to it. Raises Refused."""
    return access.kubectl("create", "--dry-run=server", "--filename=-", stdin=yaml.safe_dump(manifest))


def pod_with(spec: dict[str, Any], namespace: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "again", "namespace": namespace}, "spec": spec}


def job_with(spec: dict[str, Any], namespace: str) -> Manifest:
    metadata = {"name": "again", "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": {"spec": spec}}}


def escalating(spec: dict[str, Any]) -> dict[str, Any]:
    (container,) = spec["containers"]
    return spec | {"containers": [merge(container, {"securityContext": {"allowPrivilegeEscalation": True}})]}


def test_every_namespace_enforces_restricted(
    uninterrupted: Finished, store: Store, operator_release: Release, cluster: Access
) -> None:
    namespaces = (uninterrupted.job.namespace, store.namespace, operator_release.namespace)
    found = [cluster.client.request("GET", f"/api/v1/namespaces/{name}") for name in namespaces]

    assert [namespace["metadata"]["labels"][LEVEL] for namespace in found] == ["restricted"] * 3


@pytest.mark.parametrize("stage", Stage)
def test_the_pods_that_ran_draw_no_warning(stage: Stage, uninterrupted: Finished, cluster: Access) -> None:
    spec, namespace = uninterrupted.pods[stage][0]["spec"], uninterrupted.job.namespace

    assert dry_run(cluster, pod_with(spec, namespace)) == "pod/again created (server dry run)\n"
    assert dry_run(cluster, job_with(spec, namespace)) == "job.batch/again created (server dry run)\n"


@pytest.mark.parametrize("stage", Stage)
def test_a_pod_that_may_do_more_is_refused(stage: Stage, uninterrupted: Finished, cluster: Access) -> None:
    spec, namespace = escalating(uninterrupted.pods[stage][0]["spec"]), uninterrupted.job.namespace

    with pytest.raises(Refused, match="violates PodSecurity"):
        dry_run(cluster, pod_with(spec, namespace))
    assert "would violate PodSecurity" in dry_run(cluster, job_with(spec, namespace))
