"""Jobs that nobody disturbs: to a published model, or to a failure that says what to change.

All of them run at once, each in a namespace of its own, and their pods end as their manifests say.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest

from cluster import ControlPlane
from cluster_job import ClusterJob
from cluster_operator import Operator
from finetune_api.contract import ExitCode, Stage
from finetune_api.status import Cause, ConditionStatus, ConditionType, Phase, StageState, Status
from kwok_results import BAD_ROWS, bad_rows, crashed, prepared, published, reused
from results import PREPARED, PUBLISHED, RUN

pytestmark = pytest.mark.tier("controlplane")

PREPARE, TRAIN = (Stage.PREPARE, 1), (Stage.TRAIN, 1)
SCENARIOS = {
    # Long enough to be seen in every phase.
    "succeeds": {
        PREPARE: replace(prepared(), after_milliseconds=1000),
        TRAIN: replace(published(), after_milliseconds=1500),
    },
    "is published already": {PREPARE: reused()},
    "has bad rows": {PREPARE: bad_rows()},
    "crashes once": {PREPARE: prepared(), TRAIN: crashed(100), (Stage.TRAIN, 2): published(attempt=2)},
    "keeps crashing": {PREPARE: prepared(), TRAIN: crashed(100), (Stage.TRAIN, 2): crashed(200, attempt=2)},
}


@pytest.fixture(scope="module")
def jobs(control_plane: ControlPlane, operator: Operator, new_namespace: Callable[[], str]) -> dict[str, ClusterJob]:
    jobs = {name: ClusterJob(control_plane.api.client, new_namespace()) for name in SCENARIOS}
    for name, fates in SCENARIOS.items():
        jobs[name].create(fates, workers={"nodes": 2}, restart={"maxRestarts": 1})
    return jobs


def conditions(status: Status) -> dict[ConditionType, ConditionStatus]:
    return {condition.type: condition.status for condition in status.conditions}


def attempts(status: Status) -> list[tuple[Stage, int, Cause | None, bool]]:
    return [(each.stage, each.number, each.cause, each.counted) for each in status.attempts]


def test_kubectl_waits_for_the_end_of_a_job(control_plane: ControlPlane, jobs: dict[str, ClusterJob]) -> None:
    job = jobs["succeeds"]
    wait = ("wait", "--for=condition=Finished", f"ftj/{job.name}", f"--namespace={job.namespace}", "--timeout=60s")
    done = control_plane.api.kubectl(*wait)
    assert (done.returncode, done.stderr) == (0, "")
    assert job.status.phase == Phase.SUCCEEDED


def test_a_job_passes_through_its_phases_in_order(jobs: dict[str, ClusterJob]) -> None:
    jobs["succeeds"].wait(Phase.SUCCEEDED)
    phases = [phase for phase, _ in itertools.groupby(each.status.phase for each in jobs["succeeds"].versions)]
    assert phases == [Phase.PENDING, Phase.PREPARING, Phase.STARTING, Phase.TRAINING, Phase.SUCCEEDED]


def test_a_succeeded_job_tells_what_was_made_of_what(jobs: dict[str, ClusterJob]) -> None:
    status = jobs["succeeds"].wait(Phase.SUCCEEDED)
    assert (status.run, status.data, status.resolved, status.metrics) == (
        RUN,
        PREPARED.data,
        PREPARED.resolved,
        PUBLISHED.metrics,
    )
    assert status.artifacts is not None
    assert (status.artifacts.model_uri, status.artifacts.manifest_sha256) == (
        PUBLISHED.model_uri,
        PUBLISHED.manifest_sha256,
    )
    assert [each.state for each in status.stages] == [StageState.SUCCEEDED, StageState.SUCCEEDED]
    assert attempts(status) == [
        (Stage.PREPARE, 1, Cause.COMPLETED, False),
        (Stage.TRAIN, 1, Cause.COMPLETED, False),
    ]
    assert conditions(status) == {
        ConditionType.PREPARED: ConditionStatus.TRUE,
        ConditionType.ADMITTED: ConditionStatus.TRUE,
        ConditionType.RUNNING: ConditionStatus.FALSE,
        ConditionType.SUSPENDED: ConditionStatus.FALSE,
        ConditionType.SUCCEEDED: ConditionStatus.TRUE,
        ConditionType.FINISHED: ConditionStatus.TRUE,
        ConditionType.RECONCILING: ConditionStatus.FALSE,
        ConditionType.STALLED: ConditionStatus.FALSE,
    }
    assert {each.observed_generation for each in status.conditions} == {status.observed_generation} == {1}


def test_a_run_that_is_published_already_is_not_trained_again(jobs: dict[str, ClusterJob]) -> None:
    status = jobs["is published already"].wait(Phase.SUCCEEDED)
    assert status.metrics == PUBLISHED.metrics
    assert attempts(status) == [(Stage.PREPARE, 1, Cause.COMPLETED, False)]


def test_bad_rows_end_a_job_before_any_gpu_is_taken(jobs: dict[str, ClusterJob]) -> None:
    status = jobs["has bad rows"].wait(Phase.FAILED)
    assert status.failure == BAD_ROWS
    assert [(each.stage, each.exit_code) for each in status.attempts] == [(Stage.PREPARE, ExitCode.BAD_ROWS)]
    said = conditions(status)
    assert (said[ConditionType.SUCCEEDED], said[ConditionType.STALLED]) == (ConditionStatus.FALSE, ConditionStatus.TRUE)


def test_a_crashed_gang_starts_again_as_a_whole(jobs: dict[str, ClusterJob]) -> None:
    job = jobs["crashes once"]
    assert attempts(job.wait(Phase.SUCCEEDED)) == [
        (Stage.PREPARE, 1, Cause.COMPLETED, False),
        (Stage.TRAIN, 1, Cause.CRASHED, True),
        (Stage.TRAIN, 2, Cause.COMPLETED, False),
    ]
    assert job.pods(Stage.TRAIN, 1) == []


def test_a_job_that_keeps_crashing_fails_when_its_restarts_are_spent(jobs: dict[str, ClusterJob]) -> None:
    status = jobs["keeps crashing"].wait(Phase.FAILED)
    assert attempts(status) == [
        (Stage.PREPARE, 1, Cause.COMPLETED, False),
        (Stage.TRAIN, 1, Cause.CRASHED, True),
        (Stage.TRAIN, 2, Cause.CRASHED, True),
    ]
    assert status.failure is not None
    assert (status.failure.field, status.failure.message.split(";")[0]) == (
        "spec.restart.maxRestarts",
        "failed 2 times within 3600 s",
    )
    assert status.checkpoint is not None
    assert status.checkpoint.step == 200
