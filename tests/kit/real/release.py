"""The operator as its users install it: a Helm release in a namespace of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_client import Manifest
from jobs import merge
from real.access import Access
from real.restricted import namespace_manifest

_CHART = Path(__file__).parents[3] / "charts" / "finetune-operator"
_NAME = "finetune-operator"
_SELECTOR = "app.kubernetes.io/name=finetune-operator"
_SMALL = {"cpu": "100m", "scratch": "1Gi"}
_VALUES: Mapping[str, Any] = {
    # Without it every FineTuneJob goes with the release, and so does what the next test run must not find.
    "crds": {"keep": False},
    "image": {"tag": "test"},
    "trainerImage": {"tag": "test"},
    "settings": {
        "progressSeconds": 1,
        "graceSeconds": 10,
        "shm": "256Mi",
        "prepare": {**_SMALL, "memory": "1Gi"},
        "train": {**_SMALL, "memory": "2Gi"},
    },
}


@dataclass(frozen=True)
class Release:
    """The one release of a cluster; `values` are laid over those that fit two small nodes."""

    access: Access
    node: str
    """Where the operator runs, so that another node can be lost."""
    values: Mapping[str, Any]
    namespace: str = "finetune-system"

    def install(self) -> None:
        """Returns when the operator is ready."""
        self.access.apply(namespace_manifest(self.namespace))
        pinned = {"nodeSelector": {"kubernetes.io/hostname": self.node}}
        file = self.access.folder / "values.json"
        file.write_text(json.dumps(merge(merge(_VALUES, pinned), self.values)))
        self.access.helm("upgrade", "--install", _NAME, str(_CHART), f"--values={file}", "--wait", *self._here)

    def uninstall(self) -> None:
        self.access.helm("uninstall", _NAME, "--ignore-not-found", "--wait", *self._here)
        self.access.kubectl("delete", "namespace", self.namespace, "--ignore-not-found", within=120)

    @property
    def pod(self) -> Manifest:
        """The operator's newest pod that is not being deleted."""
        found = self.access.client.request("GET", f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={_SELECTOR}")
        alive = [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]
        newest: Manifest = max(alive, key=lambda pod: pod["metadata"]["creationTimestamp"])
        return newest

    @property
    def incarnation(self) -> tuple[str, int]:
        """The operator's pod, and how often its container was started again."""
        return self.pod["metadata"]["name"], self.restarts

    @property
    def restarts(self) -> int:
        """Of the container of the newest pod."""
        (container,) = self.pod["status"]["containerStatuses"]
        count: int = container["restartCount"]
        return count

    def kubectl(self, *arguments: str, within: float = 60) -> str:
        """In the release's namespace."""
        return self.access.kubectl(*self._here, *arguments, within=within)

    @property
    def _here(self) -> tuple[str, ...]:
        return (f"--namespace={self.namespace}",)
