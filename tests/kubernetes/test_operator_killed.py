"""The operator may be killed at any moment: what is in the cluster is all that it needs to go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from cluster import ControlPlane
from cluster_client import eventually
from cluster_job import ClusterJob, no_jobs_allowed
from cluster_operator import Operator
from finetune_api.contract import Stage
from finetune_api.status import Phase
from kwok import Exit
from kwok_results import crashed, prepared, published

pytestmark = pytest.mark.tier("controlplane")

PREPARE, CRASH, TRAIN = (Stage.PREPARE, 1), (Stage.TRAIN, 1), (Stage.TRAIN, 2)
FATES = {PREPARE: prepared(), CRASH: crashed(checkpoint_step=100), TRAIN: published(attempt=2)}


def without(held: tuple[Stage, int]) -> dict[tuple[Stage, int], Exit]:
    """The fates of a job that waits for the test to end this attempt."""
    return {attempt: end for attempt, end in FATES.items() if attempt != held}


def end_of(job: ClusterJob) -> tuple[Any, list[str]]:
    """Status and children, without what two runs of the same job never share: times, nodes and random names."""
    uid = job.uid[:5]

    def comparable(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: comparable(item)
                for key, item in value.items()
                if not key.endswith(("Time", "Times")) and key not in ("node", "jobUid")
            }
        if isinstance(value, list):
            return [comparable(item) for item in value]
        return unnamed(value) if isinstance(value, str) else value

    def unnamed(text: str) -> str:
        pod_suffix, node = r"(?<=-\d)-[a-z0-9]{5}\b", r"\bnode-\d"
        return re.sub(pod_suffix, "", re.sub(node, "NODE", text.replace(uid, "UID")))

    return comparable(job.status.to_json()), [unnamed(child) for child in job.children()]


def test_a_killed_operator_comes_to_the_same_end(
    control_plane: ControlPlane, operator: Operator, new_namespace: Callable[[], str]
) -> None:
    def new_job() -> ClusterJob:
        return ClusterJob(control_plane.api.client, new_namespace())

    undisturbed, ended, refused, preparing, training, restarted, unseen = (new_job() for _ in range(7))
    undisturbed.create(FATES)
    ended.create(FATES)
    allow_jobs = no_jobs_allowed(refused)
    refused.create(FATES)
    preparing.create(without(PREPARE))
    training.create(without(CRASH))
    restarted.create(without(TRAIN))

    # Each is now at its moment, and the operator dies at all of them at once.
    eventually(lambda: refused.status.attempts)
    preparing.wait(Phase.PREPARING)
    training.wait(Phase.TRAINING)
    eventually(lambda: restarted.pods(*TRAIN))
    latched = ended.wait(Phase.SUCCEEDED)
    undisturbed.wait(Phase.SUCCEEDED)
    operator.kill()

    # All this happens while nobody looks.
    allow_jobs()
    preparing.end_pods(*PREPARE, FATES[PREPARE])
    training.end_pods(*CRASH, FATES[CRASH])
    restarted.end_pods(*TRAIN, FATES[TRAIN])
    unseen.create(FATES)

    operator.start()
    expected = end_of(undisturbed)
    for moment in (refused, preparing, training, restarted, unseen):
        moment.wait(Phase.SUCCEEDED)
        assert end_of(moment) == expected
    assert ended.status == latched
