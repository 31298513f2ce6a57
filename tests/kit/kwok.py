"""Fake nodes and a fake kubelet (kwok), and the words by which a test decides a pod's fate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import ApiServer
from finetune_api.contract import Stage

_STAGES = Path(__file__).parent.parent / "kubernetes" / "stages.yaml"
_PREFIX = "kubelet.test"


@dataclass(frozen=True)
class Exit:
    """How a pod's container ends: exit code, termination message, the kubelet's reason, and how long it runs."""

    code: int
    says: str = ""
    reason: str | None = None
    after_milliseconds: int = 0

    def annotations(self, suffix: str = "") -> dict[str, str]:
        """Put on a pod (or in a Job's pod template) they make it run and end so."""
        fate = {"exit": str(self.code), "says": self.says}
        if self.reason is not None:
            fate["reason"] = self.reason
        if self.after_milliseconds:
            fate["after"] = f"{self.after_milliseconds}ms"
        return {f"{_PREFIX}/{word}{suffix}": value for word, value in fate.items()}


def script(fates: Mapping[tuple[Stage, int], Exit]) -> dict[str, str]:
    """For `spec.podMetadata.annotations`: how all pods of each (stage, attempt) end; others run until told."""
    annotations: dict[str, str] = {}
    for (stage, attempt), end in fates.items():
        annotations |= end.annotations(f"-{stage.lower()}-{attempt}")
    return annotations


def hold(stage: Stage, attempt: int) -> dict[str, str]:
    """For `spec.podMetadata.annotations`: pods of this attempt stay Pending, as when an image is pulled."""
    return {f"{_PREFIX}/hold-{stage.lower()}-{attempt}": "true"}


class Kwok:
    """kwok with its nodes; pods on them live by tests/kubernetes/stages.yaml."""

    def __init__(self, api: ApiServer, binaries: Path, nodes: int) -> None:
        self._api = api
        self._nodes = nodes
        self.process = api.process(
            binaries / "kwok", f"--config={_STAGES}", f"--kubeconfig={api.folder / 'admin.kubeconfig'}"
        )

    def start(self) -> None:
        """Returns when every node is ready to take pods."""
        self.process.start()
        for number in range(self._nodes):
            name = f"node-{number}"
            node = {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
            self._api.client.request("POST", "/api/v1/nodes", node)
        self.process.wait_until(self._nodes_schedulable)

    def stop(self) -> None:
        self.process.kill()

    def _nodes_schedulable(self) -> bool:
        nodes = self._api.client.request("GET", "/api/v1/nodes")["items"]
        return all(_ready(node) and not node["spec"].get("taints") for node in nodes)


def _ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
