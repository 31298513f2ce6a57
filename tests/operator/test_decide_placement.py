"""What kube-scheduler 1.36 says of a pod that fits nowhere, and the field that would help."""

from __future__ import annotations

import pytest

from finetune_api.contract import Stage
from finetune_operator.decide.obstacle import Obstacle
from finetune_operator.decide.placement import unplaced
from finetune_operator.decide.reasons import Reason
from jobs import make_job
from observed import TRAIN_1, waiting

PREEMPTION = (
    " no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
)
FAST = make_job(workers={"resources": {"scratchStorageClass": "fast"}}).spec
MAY_BE = "it may not exist, or provide none, or a quota forbids the claim"
FIELDS = {
    "4 Insufficient nvidia.com/gpu": "spec.workers.gpusPerNode",
    "4 Insufficient cpu": "spec.workers.resources.cpu",
    "4 Insufficient memory": "spec.workers.resources.memory",
    "4 Insufficient ephemeral-storage": "spec.workers.resources.scratch",
    "4 Insufficient cpu, 4 Insufficient ephemeral-storage, 4 Insufficient memory": "spec.workers.resources",
    "4 node(s) didn't match Pod's node affinity/selector": "spec.workers.nodeSelector",
    "1 Insufficient memory, 3 node(s) had untolerated taint {team: nlp}": "spec.workers.tolerations",
    "1 node(s) had untolerated taint(s), 3 Insufficient nvidia.com/gpu": "spec.workers.gpusPerNode",
    "2 Insufficient memory, 2 Insufficient nvidia.com/gpu": "spec.workers",
    "4 Too many pods": "spec.workers",
}


@pytest.mark.parametrize(("complaint", "field"), FIELDS.items(), ids=FIELDS)
def test_the_field_is_that_of_what_keeps_most_nodes_away(complaint: str, field: str) -> None:
    pod = waiting(0)
    assert unplaced(pod, f"0/4 nodes are available: {complaint}.{PREEMPTION}", make_job().spec) == Obstacle(
        Reason.UNSCHEDULABLE, f"Pod {TRAIN_1}-0: 0/4 nodes are available: {complaint}", field
    )


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize(
    "complaint",
    [
        "pod has unbound immediate PersistentVolumeClaims. not found",
        f"4 node(s) didn't find available persistent volumes to bind.{PREEMPTION}",
        'waiting for ephemeral volume controller to create the persistentvolumeclaim "x-scratch". not found',
        f"4 node(s) had volume node affinity conflict.{PREEMPTION}",
    ],
)
def test_a_scratch_volume_that_does_not_come_names_its_class(complaint: str, stage: Stage) -> None:
    found = unplaced(waiting(0, stage=stage), f"0/4 nodes are available: {complaint}", FAST)
    assert found.field == "spec.workers.resources.scratchStorageClass"
    assert f": no volume from StorageClass fast: {MAY_BE}; 0/4 nodes are available: " in found.message
    assert "preemption" not in found.message
    assert "not found" not in found.message


def test_what_preparation_needs_is_the_administrators() -> None:
    pod = waiting(0, stage=Stage.PREPARE)
    assert unplaced(pod, f"0/4 nodes are available: 4 Insufficient cpu.{PREEMPTION}", make_job().spec) == Obstacle(
        Reason.UNSCHEDULABLE,
        f"Pod {TRAIN_1}-0: 0/4 nodes are available: 4 Insufficient cpu; "
        "what preparation asks for is in the operator's settings",
    )


def test_other_words_of_a_scheduler_are_passed_on() -> None:
    found = unplaced(waiting(0), "no nodes available to schedule pods", make_job().spec)
    assert found == Obstacle(
        Reason.UNSCHEDULABLE, f"Pod {TRAIN_1}-0: no nodes available to schedule pods", "spec.workers"
    )
