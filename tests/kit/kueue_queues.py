"""Queues of Kueue for tests: a ClusterQueue with a LocalQueue in one namespace, and priorities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cluster_client import Client, Manifest, Resource

_API = "kueue.x-k8s.io/v1beta2"
WORKLOADS = Resource(_API, "workloads")
LOCAL_QUEUES = Resource(_API, "localqueues")


class Queues:
    """Makes them in one cluster. Every ClusterQueue has its own ResourceFlavor, of any node."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def cluster_queue(self, name: str, quota: Mapping[str, str], **spec: Any) -> None:
        """`quota` by resource; pods that ask for another resource are not admitted.

        Within it a higher priority preempts a lower one; `spec` lays other fields over.
        """
        flavor: Manifest = {"apiVersion": _API, "kind": "ResourceFlavor", "metadata": {"name": name}}
        self._create("resourceflavors", flavor)
        resources = [{"name": resource, "nominalQuota": amount} for resource, amount in quota.items()]
        group = {"coveredResources": list(quota), "flavors": [{"name": name, "resources": resources}]}
        queue: Manifest = {
            "apiVersion": _API,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {
                "namespaceSelector": {},
                "resourceGroups": [group],
                "preemption": {"withinClusterQueue": "LowerPriority"},
                **spec,
            },
        }
        self._create("clusterqueues", queue)

    def local_queue(self, namespace: str, name: str, cluster_queue: str) -> None:
        queue: Manifest = {
            "apiVersion": _API,
            "kind": "LocalQueue",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterQueue": cluster_queue},
        }
        self._client.create(LOCAL_QUEUES, queue)

    def priority(self, name: str, value: int) -> None:
        priority = {"apiVersion": _API, "kind": "WorkloadPriorityClass", "metadata": {"name": name}, "value": value}
        self._create("workloadpriorityclasses", priority)

    def resize(self, name: str, quota: Mapping[str, str]) -> None:
        """Give a ClusterQueue another quota."""
        resources = [{"name": resource, "nominalQuota": amount} for resource, amount in quota.items()]
        group = {"coveredResources": list(quota), "flavors": [{"name": name, "resources": resources}]}
        change = {"spec": {"resourceGroups": [group]}}
        self._client.request("PATCH", f"/apis/{_API}/clusterqueues/{name}", change, "application/merge-patch+json")

    def workloads(self, namespace: str) -> list[Manifest]:
        """Oldest first."""
        return sorted(self._client.list(WORKLOADS, namespace), key=lambda body: body["metadata"]["creationTimestamp"])

    def _create(self, plural: str, manifest: Manifest) -> None:
        self._client.request("POST", f"/apis/{_API}/{plural}", manifest)
