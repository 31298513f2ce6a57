"""The operator lives a job's whole life with the rights that the chart gives it, and is never told that it may not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cluster import ControlPlane
from cluster_client import eventually
from cluster_job import ClusterJob
from cluster_operator import Operator
from finetune_api.contract import Stage
from finetune_api.status import Cause, Phase
from kwok_results import crashed, prepared, published
from permissions import LEASE_RULES, RULES, grant, kubeconfig, num_forbidden

pytestmark = pytest.mark.tier("controlplane")


@pytest.mark.parametrize("scope", ["one namespace", "every namespace"])
def test_a_whole_life_needs_no_more_than_these_permissions(
    scope: str, control_plane: ControlPlane, new_namespace: Callable[[], str]
) -> None:
    api = control_plane.api
    home, namespace = new_namespace(), new_namespace()
    grant(api, home, RULES, namespace=namespace if scope == "one namespace" else None)
    grant(api, home, LEASE_RULES, namespace=home)
    operator = Operator(api, NAMESPACES=namespace if scope == "one namespace" else "", OWN_NAMESPACE=home)
    operator.process.env = {**operator.process.env, "KUBECONFIG": str(kubeconfig(api, home))}
    refused = num_forbidden(api)
    job = ClusterJob(api.client, namespace)
    try:
        operator.start()
        job.create({(Stage.PREPARE, 1): prepared(), (Stage.TRAIN, 2): crashed(100, 2), (Stage.TRAIN, 3): published(3)})
        eventually(lambda: job.status.phase == Phase.TRAINING)
        job.change(suspend=True)
        job.wait(Phase.SUSPENDED)
        job.change(suspend=False)
        job.wait(Phase.SUCCEEDED)
        assert [each.cause for each in job.status.attempts] == [
            Cause.COMPLETED, Cause.SUSPENDED, Cause.CRASHED, Cause.COMPLETED,
        ]  # fmt: skip
        job.delete()
        eventually(lambda: not job.children())
    finally:
        operator.kill()
    assert num_forbidden(api) == refused
    assert "forbidden" not in operator.process.log.read_text()
