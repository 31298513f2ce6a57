"""Kueue on the disposable cluster, and an operator that reads its Workloads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binaries import KUBERNETES, KUEUE
from cluster import ControlPlane
from cluster_operator import Operator
from kueue import Kueue
from kueue_queues import Queues
from node.packages import NoNode, install

_COMMANDS = {"openssl": "openssl", "unshare": "util-linux"}
"""Command → the Debian package that has it."""


@pytest.fixture(scope="module")
def kueue(
    control_plane: ControlPlane,
    binaries: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
    say: Callable[[str], None],
) -> Iterator[Kueue]:
    """Tier *kueue*: the real controller."""
    if os.geteuid() != 0:
        pytest.skip("Kueue's controller needs root, for a mount namespace of its own")
    try:
        install([package for command, package in _COMMANDS.items() if shutil.which(command) is None], os.environ, say)
    except NoNode as reason:
        pytest.skip(str(reason))
    api = control_plane.api
    kueue = Kueue(
        client=api.client,
        kubeconfig=api.kubeconfig,
        kubectl=binaries(KUBERNETES, "kubectl") / "kubectl",
        binary=binaries(KUEUE) / "kueue",
        folder=tmp_path_factory.mktemp("kueue"),
    )
    try:
        kueue.start()
        yield kueue
    finally:
        kueue.stop()


@pytest.fixture(scope="module")
def queues(kueue: Kueue, control_plane: ControlPlane) -> Queues:
    return Queues(control_plane.api.client)


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, kueue: Kueue) -> Iterator[Operator]:
    """The operator with eyes for Workloads."""
    operator = Operator(control_plane.api, KUEUE="true")
    try:
        operator.start()
        yield operator
    finally:
        operator.kill()
