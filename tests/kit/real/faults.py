"""Faults that only a cluster of one's own allows, and what comes closest to them on any other."""

from __future__ import annotations

import contextlib
import signal
from contextlib import AbstractContextManager
from typing import Protocol

from real.access import Access, Refused
from real.release import Release

_KILL_RANK = r"""
import os, pathlib, signal
for each in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if b"-m\0finetune_trainer.rank\0" in each.read_bytes():
        os.kill(int(each.parent.name), signal.SIGKILL)
"""
"""A container's first process takes no SIGKILL from inside."""


class Faults(Protocol):
    """Whatever begins with a context manager has healed when it is left."""

    def node_lost(self, name: str, /) -> AbstractContextManager[object]:
        """The machine is off the network; everything on it goes on."""

    def kubelet_lost(self, name: str, /) -> AbstractContextManager[object]:
        """Only the kubelet stands still: the node's pods run, and reach everybody."""

    def api_server_away(self) -> AbstractContextManager[object]:
        """Nobody reaches the API server."""

    def kill_container(self, namespace: str, pod: str, /, number: signal.Signals = signal.SIGKILL) -> None:
        """A signal to the first process of the pod's one container."""


def kill_training(access: Access, namespace: str, pod: str, faults: Faults | None) -> None:
    """SIGKILL to a training pod's container, or to its rank where the container is out of reach."""
    if faults is not None:
        faults.kill_container(namespace, pod)
        return
    with contextlib.suppress(Refused):  # the container may end before what ended it
        access.kubectl("exec", f"--namespace={namespace}", pod, "--", "python", "-c", _KILL_RANK)


def kill_operator(release: Release, faults: Faults | None) -> None:
    """SIGKILL to the operator's container, or to its whole pod where the container is out of reach."""
    pod = release.pod["metadata"]["name"]
    if faults is not None:
        faults.kill_container(release.namespace, pod)
        return
    delete_at_once(release, pod)


def delete_at_once(release: Release, pod: str) -> None:
    """As when its node dies: no time for last words."""
    release.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
