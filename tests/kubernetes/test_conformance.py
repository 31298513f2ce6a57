"""The real control plane does what the conformance table says, so the table is true of what it is compared with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from cluster import ControlPlane
from cluster_client import PODS, Client
from conformance import CASES, Case
from finetune_api.contract import CONTAINER
from finetune_operator.apply import Body, Manifest
from finetune_operator.apply.kube import KubeCluster
from kwok import Exit


@dataclass(frozen=True)
class KubeWorld:
    """Implements conformance.World: kwok ends a pod as its annotations say."""

    cluster: KubeCluster
    namespace: str
    client: Client

    def container(self) -> Manifest:
        return {"name": CONTAINER, "image": "trainer:test"}

    async def finish(self, pod: Body, exit_code: int, says: str = "") -> None:
        change = {"metadata": {"annotations": Exit(exit_code, says).annotations()}}
        self.client.patch(PODS, self.namespace, pod["metadata"]["name"], change)


@pytest.fixture
async def world(control_plane: ControlPlane, crd: None, namespace: str) -> AsyncIterator[KubeWorld]:
    environ = {"KUBECONFIG": str(control_plane.api.kubeconfig)}
    now = datetime.now(UTC)  # noqa: TID251 - a test's edge
    cluster = await KubeCluster.connect(environ, now=lambda: now, identity="conformance")
    try:
        yield KubeWorld(cluster, namespace, control_plane.api.client)
    finally:
        await cluster.close()


@pytest.mark.tier("controlplane")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_a_real_control_plane_does_the_same(case: Case, control_plane: ControlPlane, world: KubeWorld) -> None:
    await case(world)
