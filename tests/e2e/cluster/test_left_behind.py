"""However a cluster ends, nothing of it is left: seen on a machine of its own, where nobody else leaves anything."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from binaries import COREDNS, KUBERNETES, POD
from cluster_client import eventually
from node.addresses import SEATS
from node.cgroups import remove_cgroup
from node.containerd import POD_IMAGE
from node.daemon import Daemon, sweep
from node.machine import Machine
from node.state import Folders, State
from node.two_nodes import machine

pytestmark = [pytest.mark.tier("node"), pytest.mark.timeout(300)]

KIT = Path(__file__).parents[2] / "kit"
HOLD = "import os, time; from node.lifecycle import held; held(os.environ, True, print).__enter__(); time.sleep(600)"


@dataclass(frozen=True)
class Elsewhere:
    """A machine without network: names and addresses of a cluster are free there, whatever runs on this one."""

    machine: Machine
    env: dict[str, str]

    @property
    def folders(self) -> Folders:
        return Folders.of(self.env)

    def run(self, *argv: str) -> str:
        words = [f"{name}={value}" for name, value in self.env.items()]
        return self.machine.run("env", *words, *argv, timeout_seconds=200)

    def node(self, action: str) -> str:
        return self.run(sys.executable, "-m", "node", action)

    def python(self, name: str, *arguments: str) -> Daemon:
        return replace(self.machine.daemon(name, sys.executable, *arguments), env=self.env)

    def footprint(self) -> set[str]:
        """Processes, mounts, links, routes, packet filter rules, cgroups; and the cluster's folder."""
        listed = (
            ("process", ("sh", "-c", "for words in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $words; echo; done")),
            ("mount", ("cut", "--delimiter= ", "--fields=4-", "/proc/self/mountinfo")),
            ("link", ("ip", "-brief", "link")),
            ("route", ("ip", "route", "show", "table", "all")),
            ("rule", ("iptables-save",)),
        )
        lines = {f"{kind} {line}" for kind, argv in listed for line in self.machine.run(*argv).splitlines()}
        cgroups = {f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("**/finetune-*")}
        return {line for line in lines if "#" not in line} | cgroups | {str(self.folders.cluster.exists())}

    def assert_footprint(self, expected: set[str]) -> None:
        """The kernel may take a moment to let go of what has ended."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: self.footprint() == expected)
        assert self.footprint() == expected

    def clean_up(self) -> None:
        sweep(self.machine.folder)
        for seat in SEATS:
            remove_cgroup(machine(self.folders, seat, Path()).cgroup)
        remove_cgroup(self.machine.cgroup)


@pytest.fixture
def elsewhere(own_nodes: State | None, binaries: Callable[..., Path], tmp_path: Path) -> Iterator[Elsewhere]:
    if own_nodes is None:
        pytest.skip("needs nodes of our own, not those of FINETUNE_TEST_KUBECONFIG")
    assets = tmp_path / "assets"
    assets.mkdir()
    for module in (COREDNS, KUBERNETES, POD):
        for command in module.commands:
            (assets / command).symlink_to(binaries(module) / command)
    place = Elsewhere(
        Machine("elsewhere", tmp_path / "elsewhere", assets / "pod"),
        {"KUBEBUILDER_ASSETS": str(assets), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(KIT)},
    )
    try:
        place.machine.start()
        place.machine.run("ip", "link", "set", "lo", "up")
        yield place
    finally:
        place.clean_up()


def test_a_cluster_taken_down_in_the_middle_of_a_pods_life(elsewhere: Elsewhere) -> None:
    before = elsewhere.footprint()
    elsewhere.node("up")
    kubectl = ("kubectl", f"--kubeconfig={elsewhere.folders.kubeconfig}")
    elsewhere.run(*kubectl, "run", "one", f"--image={POD_IMAGE}")
    elsewhere.run(*kubectl, "wait", "--for=condition=Ready", "pod/one", "--timeout=60s")
    elsewhere.node("down")
    elsewhere.assert_footprint(before)


@pytest.mark.parametrize("moment", ["control-plane/kube-apiserver.log", "node-1/containerd.log", "node-2/kubelet.log"])
def test_a_cluster_that_was_killed_on_its_way_up(elsewhere: Elsewhere, moment: str) -> None:
    before = elsewhere.footprint()
    up = elsewhere.python("up", "-m", "node", "up")
    up.start()
    eventually(lambda: (elsewhere.folders.cluster / moment).exists(), timeout_seconds=120)
    up.kill()
    elsewhere.node("down")
    elsewhere.assert_footprint(before)


def test_a_cluster_whose_holder_was_killed_goes_by_itself(elsewhere: Elsewhere) -> None:
    before = elsewhere.footprint()
    holder = elsewhere.python("holder", "-c", HOLD)
    holder.start()
    eventually(lambda: elsewhere.folders.state.exists(), timeout_seconds=120)
    holder.kill()
    elsewhere.assert_footprint(before)
