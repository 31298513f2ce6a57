"""What an attempt that does not run is waiting for, and the field that would help."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_api.contract import Stage
from finetune_api.status import ConditionType
from finetune_operator.apply import Kind
from finetune_operator.decide.conditions import FALSE, State, merge
from finetune_operator.decide.obstacle import Obstacle
from finetune_operator.decide.reasons import Reason
from finetune_operator.decide.waiting import pods_late_at, waiting
from finetune_operator.observe import Observed, PodObserved, Refusal
from observed import NOW, TRAIN_1, a_fine_tune_job, a_job, a_pod, ago, an_attempt, prepared_status
from observed import waiting as waiting_pod


def waits(observed: Observed, *, stage: Stage = Stage.TRAIN, **spec: Any) -> Obstacle:
    job = a_fine_tune_job(**spec)
    return waiting(an_attempt(stage=stage), job, observed, NOW)


def container(reason: str, message: str) -> PodObserved:
    return waiting_pod(0, waiting_reason=reason, waiting_message=message)


def test_the_first_pod_with_an_obstacle_says_what_is_missing() -> None:
    pods = (waiting_pod(0), container("ErrImagePull", "no such image"), waiting_pod(2, unschedulable="0/4"))
    found = waits(Observed(jobs=(a_job(completions=3),), pods=pods))
    assert found == Obstacle(Reason.IMAGE_PULL, f"Pod {TRAIN_1}-0: no such image", "spec.workers.image")


def test_pods_that_only_take_their_time_are_counted() -> None:
    found = waits(Observed(jobs=(a_job(),), pods=(a_pod(0), waiting_pod(1, waiting_reason="ContainerCreating"))))
    assert found == Obstacle(Reason.STARTING, f"1 of 2 pods run; Pod {TRAIN_1}-1 on node node-1: ContainerCreating")


def test_a_pod_that_nobody_has_looked_at_yet_is_only_counted() -> None:
    found = waits(Observed(jobs=(a_job(),), pods=(a_pod(0), waiting_pod(1, node=None))))
    assert found == Obstacle(Reason.STARTING, "1 of 2 pods run")


def job_of_no_pods(seconds: float, stage: Stage = Stage.TRAIN) -> Observed:
    """Its controller began with it so long ago."""
    return Observed(jobs=(a_job(stage=stage, start_time=ago(seconds)),))


def test_pods_are_given_a_moment_to_appear() -> None:
    assert waits(job_of_no_pods(14)) == Obstacle(Reason.STARTING, f"Job {TRAIN_1} has 0 of 2 pods")
    assert waits(job_of_no_pods(15)).reason is Reason.NO_PODS


def test_a_job_that_its_controller_does_not_know_says_so() -> None:
    found = waits(Observed(jobs=(a_job(start_time=None),)))
    assert found == Obstacle(
        Reason.STARTING, f"Job {TRAIN_1} has 0 of 2 pods: the cluster's Job controller has not taken it up yet"
    )


NO_PODS: dict[str, tuple[Stage, tuple[PodObserved, ...], str | None, str, str | None]] = {
    "training": (Stage.TRAIN, (), "trainer", "a ResourceQuota is too small", "spec.workers"),
    "part of training": (Stage.TRAIN, (a_pod(0),), None, "a ResourceQuota is too small", "spec.workers"),
    "preparation": (Stage.PREPARE, (), None, "a ResourceQuota is too small", None),
    "preparation under an account": (
        Stage.PREPARE,
        (),
        "trainer",
        "a ResourceQuota is too small, or ServiceAccount trainer does not exist",
        "spec.workers.serviceAccountName",
    ),
}


@pytest.mark.parametrize(("stage", "pods", "account", "suspects", "field"), NO_PODS.values(), ids=NO_PODS)
def test_pods_that_do_not_appear_were_refused_and_somebody_is_told_by_whom(
    stage: Stage, pods: tuple[PodObserved, ...], account: str | None, suspects: str, field: str | None
) -> None:
    observed = Observed(jobs=(a_job(stage=stage, start_time=ago(15)),), pods=pods)
    assert waits(observed, stage=stage, workers={"serviceAccountName": account}) == Obstacle(
        Reason.NO_PODS,
        f"Job {TRAIN_1} has {len(pods)} of 2 pods, and no more are let in: most likely {suspects}; "
        f"`kubectl -n ml describe job {TRAIN_1}` says",
        field,
    )


def test_missing_pods_are_late_fifteen_seconds_after_their_controller_began() -> None:
    assert pods_late_at(an_attempt(), job_of_no_pods(10)) == ago(-5)
    assert pods_late_at(an_attempt(), Observed(jobs=(a_job(),), pods=(a_pod(0), waiting_pod(1)))) is None
    assert pods_late_at(an_attempt(), Observed(jobs=(a_job(start_time=None),))) is None
    assert pods_late_at(an_attempt(), Observed()) is None


@pytest.mark.parametrize(
    ("taken", "reason", "message", "field"),
    [
        (False, "Refused", "Job j was refused: exceeded quota", None),
        (
            True,
            "NameTaken",
            "Job j exists and belongs to somebody else: delete it, or give the FineTuneJob another name",
            "metadata.name",
        ),
    ],
)
def test_a_refusal_is_told_until_the_child_exists(taken: bool, reason: str, message: str, field: str | None) -> None:
    refusal = Refusal(kind=Kind.JOB, name="j", message="exceeded quota", taken=taken)
    now = waits(Observed(refusal=refusal))
    assert (now.reason, now.message, now.field) == (reason, message, field)
    said = merge((), {ConditionType.RUNNING: State(FALSE, reason, message)}, generation=1, now=NOW)
    status = prepared_status(an_attempt(), conditions=said)
    job = a_fine_tune_job(status)
    assert waiting(an_attempt(), job, Observed(), NOW) == now
    assert waiting(an_attempt(), job, Observed(jobs=(a_job(),)), NOW).reason is Reason.NO_PODS
