"""A storage class that provides one volume: a folder of one of our own nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from node.machine import command
from node.state import State
from real.access import Access


@contextmanager
def provided(access: Access, nodes: State, node: str, name: str) -> Iterator[None]:
    """The StorageClass and the PersistentVolume, both called `name`, are there."""
    on_node = nodes.kubelet(node).via
    path = f"/var/lib/{name}"
    # Of kind `local`, for the kubelet gives it to a pod's fsGroup; a hostPath it leaves to root.
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": name,
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "local": {"path": path},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]},
                            ],
                        },
                    ],
                },
            },
        },
    }
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    command(*on_node, "mkdir", path)
    try:
        access.apply(storage_class, volume)
        yield
    finally:
        access.kubectl("delete", f"storageclass/{name}", f"persistentvolume/{name}", "--ignore-not-found")
        command(*on_node, "rm", "--recursive", path)
