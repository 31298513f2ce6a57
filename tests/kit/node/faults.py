"""What can befall a cluster whose machines are ours, and that it is over."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cluster_client import PODS, Client, Manifest, eventually
from node.containerd import ctr, endpoint
from node.network import Switch
from node.state import State

_CONTAINERD = "containerd://"


@dataclass(frozen=True)
class OwnFaults:
    """`client` is an administrator's."""

    state: State
    client: Client

    @contextmanager
    def node_lost(self, name: str, /) -> Iterator[None]:
        """The machine is off the network; everything on it goes on."""
        switch = Switch(self.state.daemon("switch"))
        switch.unplug(name)
        try:
            yield
        finally:
            switch.replug(name)
            self._wait_until_ready(name)

    @contextmanager
    def kubelet_lost(self, name: str, /) -> Iterator[None]:
        """Only the kubelet stands still: the node's pods run, and reach everybody."""
        kubelet = self.state.kubelet(name)
        kubelet.pause()
        try:
            yield
        finally:
            kubelet.resume()
            self._wait_until_ready(name)

    @contextmanager
    def api_server_away(self) -> Iterator[None]:
        """Nobody reaches the API server."""
        server = self.state.daemon("kube-apiserver")
        server.kill()
        try:
            yield
        finally:
            server.start()
            server.wait_until(self.client.ready)

    def kill_container(self, namespace: str, pod: str, /, number: signal.Signals = signal.SIGKILL) -> None:
        """A signal to the first process of the pod's one container."""
        found = self.client.get(PODS, namespace, pod)
        assert found is not None, f"no pod {pod} in {namespace}"
        node = found["spec"]["nodeName"]
        container = found["status"]["containerStatuses"][0]["containerID"].removeprefix(_CONTAINERD)
        ctr(endpoint(self.state.daemon(node)), "tasks", "kill", f"--signal={number.name}", container)

    def _wait_until_ready(self, name: str) -> None:
        # A condition that nobody has renewed meanwhile may still say so: the taint of the lost goes last.
        eventually(lambda: ready(self.client.request("GET", f"/api/v1/nodes/{name}")), timeout_seconds=60)


def ready(node: Manifest) -> bool:
    """The kubelet reports, and pods may come."""
    conditions = node.get("status", {}).get("conditions", [])
    untainted = not node["spec"].get("taints")
    return untainted and any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
