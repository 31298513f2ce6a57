"""A deleted job leaves nothing behind, whatever it was doing, and nothing of it comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster import ControlPlane
from cluster_client import JOBS, eventually
from cluster_job import ClusterJob, no_jobs_allowed
from cluster_operator import Operator
from finetune_api.contract import Stage
from finetune_api.status import Phase
from kwok import Exit, hold
from kwok_results import bad_rows, crashed, prepared, published

pytestmark = pytest.mark.tier("controlplane")

PREPARED = {(Stage.PREPARE, 1): prepared()}


@dataclass(frozen=True)
class Stay:
    """How a job comes into a phase and stays there."""

    fates: Mapping[tuple[Stage, int], Exit] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict)


STAYS = {
    # The second restart waits for ten seconds, so this one is looked at first.
    Phase.RESTARTING: Stay(PREPARED | {(Stage.TRAIN, 1): crashed(1), (Stage.TRAIN, 2): crashed(2, attempt=2)}),
    Phase.PENDING: Stay(),
    Phase.PREPARING: Stay(),
    Phase.QUEUED: Stay(PREPARED, {"podMetadata": {"annotations": hold(Stage.TRAIN, 1)}}),
    Phase.STARTING: Stay(PREPARED, {"podMetadata": {"annotations": hold(Stage.TRAIN, 1)}}),
    Phase.TRAINING: Stay(PREPARED),
    Phase.SUSPENDED: Stay(spec={"suspend": True}),
    Phase.SUCCEEDED: Stay(PREPARED | {(Stage.TRAIN, 1): published()}),
    Phase.FAILED: Stay({(Stage.PREPARE, 1): bad_rows()}),
    Phase.CANCELLED: Stay(spec={"cancel": True}),
}


@pytest.fixture(scope="module")
def jobs(control_plane: ControlPlane, operator: Operator, new_namespace: Callable[[], str]) -> dict[Phase, ClusterJob]:
    """A job for each phase, all on their way to it."""
    jobs = {phase: ClusterJob(control_plane.api.client, new_namespace()) for phase in STAYS}
    no_jobs_allowed(jobs[Phase.PENDING])
    for phase, stay in STAYS.items():
        jobs[phase].create(stay.fates, **{"workers": {"nodes": 2}, **stay.spec})
    return jobs


def in_phase(jobs: Mapping[Phase, ClusterJob], phase: Phase) -> ClusterJob:
    job = jobs[phase]
    if phase is Phase.QUEUED:
        # The test plays the queue, which takes an admission back.
        job.wait(Phase.STARTING)
        name = job.status.attempts[-1].job_name
        job.client.patch(JOBS, job.namespace, name, {"spec": {"suspend": True}})
    job.wait(phase)
    return job


@pytest.mark.parametrize("phase", STAYS)
def test_a_job_deleted_in_any_phase_leaves_no_child(jobs: dict[Phase, ClusterJob], phase: Phase) -> None:
    job = in_phase(jobs, phase)
    job.delete()
    eventually(lambda: job.body is None and job.children() == [])


def test_nothing_of_a_deleted_job_comes_back(jobs: dict[Phase, ClusterJob]) -> None:
    assert {phase: job.children() for phase, job in jobs.items()} == {phase: [] for phase in Phase}
