"""The cluster of two nodes: up, down, and how it is."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import binaries
from cluster import ApiServer, ControlPlane
from node import certificates, containerd, dns, images, kubelet, packages, proxy
from node.addresses import HOST, SEATS, Seat
from node.daemon import Daemon, sweep
from node.machine import Machine, remove_cgroups
from node.network import Switch, wait_until_unplugged
from node.state import Folders, State, read

CONTEXT = "disposable-finetune"
_LOST_AFTER = "--node-monitor-grace-period=20s"


@contextlib.contextmanager
def _alone(folders: Folders) -> Iterator[None]:
    """One command at a time."""
    folders.cluster.parent.mkdir(parents=True, exist_ok=True)
    with (folders.cluster.parent / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def up(env: Mapping[str, str], root: bool, say: Callable[[str], None]) -> State:
    """Return once both nodes are ready and names are answered; at once when they are already.

    Raises:
        NoNode: this machine cannot run nodes.
        NoBinaries, BuildFailed: Kubernetes is neither here nor can it be built.
    """
    folders = Folders.of(env)
    with _alone(folders):
        if state := status(folders):
            return state
        _down(folders)
        packages.ensure(env, root, say)
        kubernetes, coredns, pod = (
            binaries.ensure(module, module.commands, env, say)
            for module in (binaries.KUBERNETES, binaries.COREDNS, binaries.POD)
        )
        cluster = _Cluster(folders, kubernetes, coredns / "coredns", pod / "pod")
        try:
            return cluster.start()
        except BaseException:
            _down(folders)
            raise


def down(env: Mapping[str, str]) -> None:
    """Remove every process, link, mount and cgroup of the cluster, however much of it there is; images stay."""
    folders = Folders.of(env)
    with _alone(folders):
        _down(folders)


def _down(folders: Folders) -> None:
    sweep()
    wait_until_unplugged()
    for seat in SEATS:
        remove_cgroups(Machine(seat.name, folders.cluster / seat.name, Path()).cgroup)
    shutil.rmtree(folders.cluster, ignore_errors=True)


@contextlib.contextmanager
def held(env: Mapping[str, str], root: bool, say: Callable[[str], None]) -> Iterator[State]:
    """A cluster that goes when it is left, also when this process is killed; one that was up before stays up.

    Raises what `up` does.
    """
    if state := status(Folders.of(env)):
        yield state
        return
    guard = subprocess.Popen(
        [sys.executable, "-m", "node", "guard"],
        cwd=Path(__file__).parent.parent,
        env=dict(env),
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is not for it
    )
    try:
        yield up(env, root, say)
    finally:
        guard.communicate()


def status(folders: Folders) -> State | None:
    """The cluster that is up, or None when there is none or a part of it has died."""
    state = read(folders.state)
    return state if state and all(daemon.running for daemon in state.daemons) else None


@dataclass(frozen=True)
class _Cluster:
    folders: Folders
    kubernetes: Path
    coredns: Path
    pod: Path

    def start(self) -> State:
        folder = self.folders.cluster
        folder.mkdir(parents=True)
        switch = Switch.of(folder, self.pod)
        switch.start()
        switch.plug_host()
        api, plane = self._control_plane()
        names = self._names(api)
        pod_image = folder / "pod.tar"
        containerd.write_image(pod_image, containerd.POD_IMAGE, self.pod, "pause")
        daemons = [api.etcd, api.server, plane.controller_manager, plane.scheduler, names, switch.init]
        for seat in SEATS:
            daemons += self._node(seat, switch, api, pod_image)
        self._wait_until_ready(api, daemons)
        shutil.copyfile(api.kubeconfig, self.folders.kubeconfig)
        state = State(self.kubernetes / "kubectl", tuple(_daemon(process) for process in daemons))
        state.write(self.folders.state)
        return state

    def _control_plane(self) -> tuple[ApiServer, ControlPlane]:
        folder = self.folders.cluster / "control-plane"
        folder.mkdir()
        client = certificates.kubelet_client(folder)
        api = ApiServer(
            self.kubernetes,
            folder,
            address=HOST,
            arguments=(
                f"--kubelet-client-certificate={client.certificate}",
                f"--kubelet-client-key={client.key}",
                "--kubelet-preferred-address-types=InternalIP",
            ),
            users={
                proxy.USER: "",
                dns.USER: "",
                **{f"system:node:{seat.name}": "system:nodes" for seat in SEATS},
            },
            process=Daemon,
            context=CONTEXT,
        )
        api.start()
        plane = ControlPlane(api, self.kubernetes, (_LOST_AFTER,))
        plane.start()
        return api, plane

    def _names(self, api: ApiServer) -> Daemon:
        api.apply(*dns.rights())
        corefile = api.folder / "Corefile"
        corefile.write_text(dns.configuration(api.kubeconfig_of(dns.USER)))
        names = Daemon("coredns", [str(self.coredns), "-conf", str(corefile)], api.folder / "coredns.log")
        names.start()
        return names

    def _node(self, seat: Seat, switch: Switch, api: ApiServer, pod_image: Path) -> list[Daemon]:
        machine = Machine(seat.name, self.folders.cluster / seat.name, self.pod)
        machine.start()
        switch.plug(seat, machine)
        network = machine.folder / "cni"
        network.mkdir()
        (network / "pods.conflist").write_text(containerd.network_configuration(seat))
        store = self.folders.images / seat.name
        inside = machine.folder / "var/lib/containerd"
        store.mkdir(parents=True, exist_ok=True)
        inside.mkdir()
        machine.mount(store, Path("/var/lib/containerd"))
        config = machine.folder / "containerd.toml"
        config.write_text(containerd.configuration(network))
        runtime = machine.daemon("containerd", "containerd", f"--config={config}")
        runtime.start()
        endpoint = machine.folder / containerd.SOCKET
        runtime.wait_until(lambda: images.listens(endpoint))
        containerd.ctr(endpoint, "images", "import", str(pod_image))
        settings = machine.folder / "kubelet.json"
        settings.write_text(kubelet.configuration(seat, machine.cgroup, api.folder / "kubelet-client.crt"))
        agent = machine.daemon(
            "kubelet",
            str(self.kubernetes / "kubelet"),
            *kubelet.arguments(seat, settings, api.kubeconfig_of(f"system:node:{seat.name}")),
        )
        agent.start()
        services = machine.daemon(
            "kube-proxy",
            str(self.kubernetes / "kube-proxy"),
            *proxy.arguments(seat, api.kubeconfig_of(proxy.USER)),
        )
        services.start()
        return [machine.init, runtime, agent, services]

    def _wait_until_ready(self, api: ApiServer, daemons: list) -> None:
        for daemon in daemons:
            daemon.wait_until(lambda: True)
        daemons[-1].wait_until(lambda: _nodes_ready(api))


def _daemon(process) -> Daemon:
    assert isinstance(process, Daemon)
    return process


def _nodes_ready(api: ApiServer) -> bool:
    nodes = api.client.request("GET", "/api/v1/nodes")["items"]
    return len(nodes) == len(SEATS) and all(_ready(node) for node in nodes)


def _ready(node) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
