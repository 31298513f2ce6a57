"""How the cluster is put together: a switch, the control plane on this machine, a node in each seat."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cluster import ApiServer, ControlPlane
from cluster_client import ApiError
from cluster_process import Process
from node import certificates, containerd, dns, kubelet, proxy
from node.addresses import HOST, SEATS, Seat
from node.daemon import Daemon
from node.faults import ready
from node.machine import Machine
from node.network import Switch
from node.state import Folders, State

CONTEXT = "disposable-finetune"


@dataclass(frozen=True)
class Commands:
    """Folder of Kubernetes' commands, and two binaries."""

    kubernetes: Path
    coredns: Path
    pod: Path


def machine(folders: Folders, seat: Seat, pod: Path) -> Machine:
    return Machine(seat.name, folders.cluster / seat.name, pod)


@dataclass(frozen=True)
class TwoNodes:
    folders: Folders
    commands: Commands

    def start(self) -> State:
        """Returns once both nodes are ready and names are answered.

        Raises:
            CommandFailed, ProcessFailed: with the last words of what failed; much of the rest may be running.
        """
        folder = self.folders.cluster
        folder.mkdir(parents=True)
        switch = Switch.of(folder, self.commands.pod)
        switch.start()
        switch.plug_host()
        api, plane = self._control_plane()
        names = self._names(api)
        image = folder / "pod.tar"
        containerd.write_image(image, containerd.POD_IMAGE, self.commands.pod, "pause")
        processes = [switch.init, api.etcd, api.server, plane.controller_manager, plane.scheduler, names]
        for seat in SEATS:
            processes += self._node(seat, switch, api, image)
        state = State(tuple(_daemon(process) for process in processes))
        for seat in SEATS:
            state.kubelet(seat.name).wait_until(partial(_is_ready, api, seat.name))
        names.wait_until(dns.answers)
        shutil.copyfile(api.kubeconfig, self.folders.kubeconfig)
        state.write(self.folders.state)
        return state

    def _control_plane(self) -> tuple[ApiServer, ControlPlane]:
        folder = self.folders.cluster / "control-plane"
        folder.mkdir()
        client = certificates.kubelet_client(folder)
        api = ApiServer(
            self.commands.kubernetes,
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
                **{kubelet.user(seat): kubelet.GROUP for seat in SEATS},
            },
            process=Daemon,
            context=CONTEXT,
        )
        api.start()
        plane = ControlPlane(api, self.commands.kubernetes, ("--node-monitor-grace-period=20s",))
        plane.start()
        return api, plane

    def _names(self, api: ApiServer) -> Process:
        api.apply(*dns.rights())
        corefile = api.folder / "Corefile"
        corefile.write_text(dns.configuration(api.kubeconfig_of(dns.USER)))
        names = api.process(self.commands.coredns, "-conf", str(corefile))
        names.start()
        return names

    def _node(self, seat: Seat, switch: Switch, api: ApiServer, image: Path) -> list[Process]:
        """What runs there; its store of images is the one that it had the last time."""
        node = machine(self.folders, seat, self.commands.pod)
        node.start()
        switch.plug(seat, node)
        runtime = self._runtime(seat, node, image)
        settings = node.folder / "kubelet.json"
        authority = certificates.ClientCertificate.of(api.folder).certificate
        settings.write_text(kubelet.configuration(seat, node.cgroup, authority, _memory_bytes()))
        credentials = api.kubeconfig_of(kubelet.user(seat))
        agent = node.daemon(
            "kubelet", str(self.commands.kubernetes / "kubelet"), *kubelet.arguments(seat, settings, credentials)
        )
        services = node.daemon(
            "kube-proxy",
            str(self.commands.kubernetes / "kube-proxy"),
            *proxy.arguments(seat, api.kubeconfig_of(proxy.USER)),
        )
        agent.start()
        services.start()
        return [node.init, runtime, agent, services]

    def _runtime(self, seat: Seat, node: Machine, image: Path) -> Daemon:
        """containerd, with the image of the sandboxes."""
        network = node.folder / "cni"
        network.mkdir()
        (network / "pods.conflist").write_text(containerd.network_configuration(seat))
        store = self.folders.images / seat.name
        store.mkdir(parents=True, exist_ok=True)
        (node.folder / "var/lib/containerd").mkdir()
        node.mount(store, Path("/var/lib/containerd"))
        config = node.folder / "containerd.toml"
        config.write_text(containerd.configuration(network))
        runtime = node.daemon("containerd", "containerd", f"--config={config}")
        endpoint = containerd.endpoint(node.init)
        runtime.start()
        runtime.wait_until(partial(containerd.listens, endpoint))
        containerd.ctr(endpoint, "images", "import", str(image))
        return runtime


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _daemon(process: Process) -> Daemon:
    assert isinstance(process, Daemon), f"{process.name} would die with this command"
    return process


def _is_ready(api: ApiServer, node: str) -> bool:
    try:
        return ready(api.client.request("GET", f"/api/v1/nodes/{node}"))
    except ApiError:  # not registered yet
        return False
