"""The cluster of two nodes: up, down, and how it is."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import binaries
from node import packages
from node.addresses import SEATS
from node.cgroups import remove_cgroup
from node.daemon import sweep
from node.network import wait_until_unplugged
from node.state import Folders, State, read
from node.two_nodes import Commands, TwoNodes, machine


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
        say("bringing up two nodes")
        commands = Commands(kubernetes, coredns / "coredns", pod / "pod")
        try:
            return TwoNodes(folders, commands).start()
        except BaseException:
            _down(folders)
            raise


def down(env: Mapping[str, str]) -> None:
    """Remove every process, link, mount and cgroup of the cluster, however much of it there is; images stay."""
    folders = Folders.of(env)
    with _alone(folders):
        _down(folders)


def _down(folders: Folders) -> None:
    sweep(folders.cluster)
    wait_until_unplugged()
    for seat in SEATS:
        remove_cgroup(machine(folders, seat, Path()).cgroup)
    if folders.cluster.exists():
        shutil.rmtree(folders.cluster)


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
