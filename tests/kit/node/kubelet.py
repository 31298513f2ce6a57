"""The kubelet of a node: its configuration and its command line."""

from __future__ import annotations

import json
from pathlib import Path

from node.addresses import HOST, SEATS, Seat

GROUP = "system:nodes"


def user(seat: Seat) -> str:
    """Whom the Node authorizer knows as the kubelet of this node."""
    return f"system:node:{seat.name}"


def configuration(seat: Seat, cgroup: str, client_authority: Path, memory_bytes: int) -> str:
    """A KubeletConfiguration for one of several nodes on a machine with this memory, of which it offers its share.

    `client_authority` signs the certificate by which the API server comes for logs.
    """
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": seat.address,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(client_authority)},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": cgroup,
            "systemReserved": {"memory": str(memory_bytes - memory_bytes // len(SEATS))},
            "clusterDNS": [HOST],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "failCgroupV1": False,
            "failSwapOn": False,
            "resolvConf": "/dev/null",
            # A node is missed after 20 s (kube-controller-manager's grace period), not after 50.
            "nodeLeaseDurationSeconds": 12,
            "nodeStatusUpdateFrequency": "4s",
            # A full disk of a developer's machine is no reason to evict pods, nor to delete images.
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100,
        }
    )


def arguments(seat: Seat, config: Path, kubeconfig: Path) -> tuple[str, ...]:
    return (
        f"--config={config}",
        f"--kubeconfig={kubeconfig}",
        f"--hostname-override={seat.name}",
        f"--node-ip={seat.address}",
    )
