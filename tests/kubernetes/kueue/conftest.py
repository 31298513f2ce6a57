"""Kueue on the disposable cluster, and an operator that reads its Workloads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from binaries import KUBERNETES, KUEUE
from cluster import ControlPlane
from cluster_operator import Operator
from kueue import Kueue
from kueue_queues import Queues


@pytest.fixture(scope="module")
def kueue(
    control_plane: ControlPlane, binaries: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kueue]:
    """Tier *kueue*: the real controller."""
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
