"""What is known of a cluster that is up, in a file: written last, so that its presence says that all of it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from binaries import cache_folder
from node.daemon import Daemon


@dataclass(frozen=True)
class Folders:
    """`cluster` goes with the cluster; `images` stays, for importing them costs minutes."""

    cluster: Path
    images: Path

    @classmethod
    def of(cls, env: Mapping[str, str]) -> Folders:
        cache = cache_folder(env).parent
        return cls(cache / "cluster", cache / "containerd")

    @property
    def state(self) -> Path:
        return self.cluster / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        return self.cluster / "kubeconfig"


@dataclass(frozen=True)
class State:
    """Names: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, coredns, switch, NODE,
    containerd of NODE, kubelet of NODE, kube-proxy of NODE."""

    daemons: tuple[Daemon, ...]

    def daemon(self, name: str) -> Daemon:
        return next(daemon for daemon in self.daemons if daemon.name == name)

    def kubelet(self, node: str) -> Daemon:
        return self.daemon(f"kubelet of {node}")

    def containerd(self, node: str) -> Daemon:
        return self.daemon(f"containerd of {node}")

    def write(self, path: Path) -> None:
        document = {
            "daemons": [
                {"name": daemon.name, "argv": list(daemon.argv), "log": str(daemon.log), "via": list(daemon.via)}
                for daemon in self.daemons
            ],
        }
        path.write_text(json.dumps(document, indent=2))


def read(path: Path) -> State | None:
    """None when no cluster is up, or not completely, or another version of this code brought it up."""
    try:
        document = json.loads(path.read_text())
        return State(
            tuple(
                Daemon(entry["name"], entry["argv"], Path(entry["log"]), via=entry["via"])
                for entry in document["daemons"]
            ),
        )
    except (FileNotFoundError, KeyError):
        return None
