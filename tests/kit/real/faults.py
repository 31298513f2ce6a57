"""Faults that only a cluster of one's own allows: a test that takes them is skipped on any other."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager
from typing import Protocol


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
