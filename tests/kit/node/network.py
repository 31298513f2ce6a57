"""The wires: a switch in a network namespace of its own, with the host and the nodes plugged into it."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path

from cluster_process import ProcessFailed
from node.addresses import HOST, SEATS, SERVICES, SWITCH_PREFIX, Seat
from node.daemon import Daemon
from node.machine import Machine, command

HOST_LINK = "finetune0"
_BRIDGE = "switch0"


@dataclass(frozen=True)
class Switch:
    """A bridge that no packet filter of the host sees; when its process ends, all wires are gone."""

    init: Daemon

    @classmethod
    def of(cls, folder: Path, pod: Path) -> Switch:
        """`folder` is for its log, `pod` the binary whose `pause` holds the namespace."""
        pause = [str(pod), "pause", "switch"]
        return cls(Daemon("switch", pause, folder / "switch.log", via=("unshare", "--net", "--")))

    def start(self) -> None:
        self.init.start()
        self._ip("link", "add", _BRIDGE, "type", "bridge")
        self._ip("link", "set", _BRIDGE, "up")

    def plug_host(self) -> None:
        command("ip", "link", "add", HOST_LINK, "type", "veth", "peer", "name", "host", "netns", str(self.init.pid))
        self._connect("host")
        command("ip", "address", "add", f"{HOST}/{SWITCH_PREFIX}", "dev", HOST_LINK)
        command("ip", "link", "set", HOST_LINK, "up")
        for seat in SEATS:
            command("ip", "route", "add", seat.pods, "via", seat.address)
        # Services are known to nodes only: one of them translates for the host.
        command("ip", "route", "add", SERVICES, "via", SEATS[0].address)

    def plug(self, seat: Seat, machine: Machine) -> None:
        self._ip("link", "add", seat.name, "type", "veth", "peer", "name", "eth0", "netns", str(machine.init.pid))
        self._connect(seat.name)
        machine.run("ip", "link", "set", "lo", "up")
        machine.run("ip", "address", "add", f"{seat.address}/{SWITCH_PREFIX}", "dev", "eth0")
        machine.run("ip", "link", "set", "eth0", "up")
        for other in SEATS:
            if other != seat:
                machine.run("ip", "route", "add", other.pods, "via", other.address)
        # Never travelled: what a node itself sends to a Service is translated once a route lets it out.
        machine.run("ip", "route", "add", SERVICES, "via", HOST)

    def unplug(self, node: str) -> None:
        """Pull the plug of a node: it and its pods go on, and nobody hears of them."""
        self._ip("link", "set", node, "down")

    def replug(self, node: str) -> None:
        self._ip("link", "set", node, "up")

    def _connect(self, link: str) -> None:
        self._ip("link", "set", link, "master", _BRIDGE, "up")

    def _ip(self, *words: str) -> None:
        command("nsenter", f"--target={self.init.pid}", "--net", "--", "ip", *words)


def wait_until_unplugged(timeout_seconds: float = 20.0) -> None:
    """Return when the host's wire is gone, as it is soon after the switch's process."""
    deadline = time.monotonic() + timeout_seconds
    while HOST_LINK in {name for _, name in socket.if_nameindex()}:
        if time.monotonic() > deadline:
            raise ProcessFailed(f"the link {HOST_LINK} stays: is there a cluster of another cache folder?")
        time.sleep(0.05)
