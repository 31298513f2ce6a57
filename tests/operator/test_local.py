"""One machine as a cluster: what a real control plane does too, and what only processes can do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance import CASES, Case
from local_world import LocalWorld, local_cluster


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[LocalWorld]:
    gate = tmp_path / "gate"
    gate.mkdir()
    cluster = local_cluster(tmp_path / "machine")
    try:
        yield LocalWorld(cluster, gate)
    finally:
        cluster.kill()
        await cluster.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_this_machine_does_as_a_cluster_does(case: Case, world: LocalWorld) -> None:
    await case(world)
