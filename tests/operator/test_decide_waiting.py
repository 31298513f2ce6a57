"""What an attempt that does not run is waiting for, and the field that would help."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_api.contract import Stage
from finetune_api.status import ConditionType
from finetune_operator.apply import Kind
from finetune_operator.decide.conditions import FALSE, State, merge
from finetune_operator.decide.waiting import Waiting, waiting
from finetune_operator.observe import Observed, PodObserved, Refusal
from observed import NOW, TRAIN_1, a_fine_tune_job, a_job, a_pod, an_attempt, prepared_status
from observed import waiting as waiting_pod


def waits(observed: Observed, **spec: Any) -> Waiting:
    job = a_fine_tune_job(**spec)
    return waiting(an_attempt(), job.spec, job.status, observed)


def container(reason: str, message: str) -> PodObserved:
    return waiting_pod(0, waiting_reason=reason, waiting_message=message)


OBSTACLES = {
    "image": (container("ImagePullBackOff", 'Back-off pulling image "x:1"'), "ImagePull", "spec.workers.image"),
    "image name": (container("InvalidImageName", "couldn't parse image name"), "ImagePull", "spec.workers.image"),
    "secret": (
        container("CreateContainerConfigError", 'secret "s3" not found'),
        "ContainerConfig",
        "spec.storage.secretName",
    ),
    "key of the secret": (
        container("CreateContainerConfigError", "couldn't find key accessKeyId in Secret ml/s3"),
        "ContainerConfig",
        "spec.storage.secretName",
    ),
    "another secret": (
        container("CreateContainerConfigError", 'secret "s3-other" not found'),
        "ContainerConfig",
        None,
    ),
    "place": (
        waiting_pod(0, unschedulable="0/4 nodes are available: 4 Insufficient nvidia.com/gpu."),
        "Unschedulable",
        "spec.workers",
    ),
    "place of preparation": (waiting_pod(0, unschedulable="0/4", stage=Stage.PREPARE), "Unschedulable", None),
}


@pytest.mark.parametrize(("pod", "reason", "field"), OBSTACLES.values(), ids=OBSTACLES)
def test_the_first_obstacle_is_named_with_the_field_to_change(pod: PodObserved, reason: str, field: str | None) -> None:
    attempt = an_attempt(stage=pod.stage)
    job = a_fine_tune_job(storage={"secretName": "s3"})
    found = waiting(attempt, job.spec, job.status, Observed(jobs=(a_job(),), pods=(pod, waiting_pod(1))))
    assert (found.reason, found.field) == (reason, field)
    assert found.message.startswith(f"Pod {TRAIN_1}-0: ")


def test_pods_that_only_take_their_time_are_counted() -> None:
    found = waits(Observed(jobs=(a_job(),), pods=(a_pod(0), waiting_pod(1, waiting_reason="ContainerCreating"))))
    assert found == Waiting(found.reason, "1 of 2 pods run")


def test_a_job_without_pods_points_at_its_events() -> None:
    found = waits(Observed(jobs=(a_job(),)), workers={"serviceAccountName": "trainer"})
    assert (found.reason, found.field) == ("NoPods", "spec.workers.serviceAccountName")
    assert "0 of 2 pods; its events say why" in found.message


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
    spec = a_fine_tune_job().spec
    assert waiting(an_attempt(), spec, status, Observed()) == now
    assert waiting(an_attempt(), spec, status, Observed(jobs=(a_job(),))).reason == "NoPods"
