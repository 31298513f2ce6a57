"""Kueue on real pods: a job with a higher priority takes the nodes of one in mid-training, which then goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from binaries import KUBERNETES, KUEUE
from finetune_api.contract import Stage
from finetune_api.status import Cause, Condition, ConditionType, Phase, Status
from kueue import Kueue
from kueue_queues import Queues
from node.state import State
from real.access import Access
from real.job import RealJob
from real.release import Release
from real.store import Store
from real.story import Finished, finish, resumed

pytestmark = [pytest.mark.tier("node"), pytest.mark.tier("kueue")]

QUEUES = {"queueName": "gpus", "prepareQueueName": "cpus"}
ROOM = {"cpu": "1", "ephemeral-storage": "1Ti"}
ONE_GANG = {**ROOM, "memory": "4Gi"}
ONE_PREPARATION = {**ROOM, "memory": "1Gi"}


@pytest.fixture(scope="module")
def kueue(
    own_nodes: State | None,
    cluster: Access,
    binaries: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Kueue]:
    """Tier *kueue*: the real controller."""
    if own_nodes is None:
        pytest.skip("needs an API server on this machine, for Kueue's webhooks are served on its loopback")
    kueue = Kueue(
        client=cluster.client,
        kubeconfig=cluster.kubeconfig,
        kubectl=binaries(KUBERNETES, "kubectl") / "kubectl",
        binary=binaries(KUEUE) / "kueue",
        folder=tmp_path_factory.mktemp("kueue"),
    )
    try:
        kueue.start()
        yield kueue
    finally:
        kueue.stop()


@pytest.fixture(scope="module")
def queues(kueue: Kueue, cluster: Access, operator_release: Release) -> Iterator[Queues]:
    """Room for one gang and one preparation at a time, two priorities, and an operator that asks Kueue."""
    queues = Queues(cluster.client)
    queues.cluster_queue("gpus", ONE_GANG)
    queues.cluster_queue("cpus", ONE_PREPARATION)
    queues.priority("nightly", 1)
    queues.priority("urgent", 100)
    replace(operator_release, values={"kueue": {"enabled": True}}).install()
    yield queues
    operator_release.install()


@dataclass(frozen=True)
class Story:
    """A nightly job makes room for an urgent one."""

    nightly: Finished
    urgent: Finished
    preempted: Condition
    """Admitted of the nightly job, while it waited."""
    job_uids: list[str | None]
    """Of the nightly job's train Job, before and after."""
    saved: int
    """Step of its checkpoint, as status told it meanwhile."""
    resumed_from: tuple[int, int]
    """Step of the nightly job's checkpoint, and the epoch under which it was saved."""
    workloads: list[str]
    """Queues of the urgent job's Workloads, oldest first."""


def admitted(status: Status) -> Condition:
    return next(each for each in status.conditions if each.type is ConditionType.ADMITTED)


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store, queues: Queues) -> Story:
    def queued(name: str, priority: str, **spec: Any) -> RealJob:
        job = new_job(name, scheduling={**QUEUES, "priorityClass": priority}, **spec)
        for queue in QUEUES.values():
            queues.local_queue(job.namespace, queue, queue)
        job.apply()
        return job

    nightly = queued("nightly", "nightly")
    nightly.in_training()
    before = nightly.attempt(Stage.TRAIN, 1).job_uid
    urgent = queued("urgent", "urgent", training={"epochs": 1})
    preempted = nightly.wait(
        lambda status: admitted(status) if admitted(status).reason == "Preempted" else None, "preempted", within=240
    )
    done = finish(urgent, store, within=600)
    workloads = [workload["spec"]["queueName"] for workload in queues.workloads(urgent.namespace)]
    saved = nightly.status.checkpoint
    assert saved is not None
    nightly.in_training(beyond=saved.step)
    after = nightly.attempt(Stage.TRAIN, 1).job_uid
    begin = resumed(nightly, 1)
    return Story(finish(nightly, store, within=600), done, preempted, [before, after], saved.step, begin, workloads)


def test_each_stage_of_the_urgent_job_was_admitted_through_a_queue_of_its_own(story: Story) -> None:
    assert story.workloads == ["cpus", "gpus"]
    assert admitted(story.urgent.status).reason == "Admitted"
    assert [attempt.cause for attempt in story.urgent.status.attempts] == [Cause.COMPLETED, Cause.COMPLETED]


def test_the_preempted_job_was_queued_and_went_on_in_the_same_job(story: Story) -> None:
    phases = [status.phase for status in story.nightly.versions]
    assert Phase.QUEUED in phases[phases.index(Phase.TRAINING) :]
    assert story.job_uids[0] == story.job_uids[1] is not None
    (attempt,) = story.nightly.attempts(Stage.TRAIN)
    assert (attempt.cause, attempt.counted) == (Cause.COMPLETED, False)


def test_it_said_in_kueues_own_words_what_it_waited_for(story: Story) -> None:
    assert "waits in queue gpus: " in story.preempted.message


def test_it_went_on_from_what_it_saved_when_it_was_told_to_stop(story: Story, uninterrupted: Finished) -> None:
    head = story.nightly.publication.head
    assert head.epoch == 2
    last = next(entry for entry in reversed(head.checkpoints) if entry.epoch == 1)
    assert story.resumed_from == (last.step, 1)
    assert story.saved == last.step
    assert story.nightly.publication.losses == uninterrupted.publication.losses
    assert story.nightly.publication.same_model_as(uninterrupted.publication)
