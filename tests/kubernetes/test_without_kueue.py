"""A cluster without Kueue, though manifests name queues and the operator's settings say it is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import ControlPlane
from cluster_job import ClusterJob
from cluster_operator import Operator
from finetune_api.contract import Stage
from finetune_api.status import Phase
from kwok_results import prepared, published

pytestmark = pytest.mark.tier("controlplane")

MISSING = "FINETUNE_OPERATOR_KUEUE is true, but why a Job waits cannot be told: workloads of kueue.x-k8s.io/v1beta2"


@pytest.fixture
def operator(control_plane: ControlPlane) -> Iterator[Operator]:
    """The operator, told that Kueue is there."""
    operator = Operator(control_plane.api, KUEUE="true")
    try:
        operator.start()
        yield operator
    finally:
        operator.kill()


def test_jobs_run_and_what_is_missing_is_said_once(job: ClusterJob, operator: Operator) -> None:
    queues = {"queueName": "gpus", "prepareQueueName": "cpus", "priorityClass": "high"}
    job.create({(Stage.PREPARE, 1): prepared(), (Stage.TRAIN, 1): published()}, scheduling=queues)
    job.wait(Phase.SUCCEEDED)
    assert operator.process.log.read_text().count(MISSING) == 1
