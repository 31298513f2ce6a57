"""Kubernetes gives a node up whose kubelet stands still, and its pod trains on: its successor fences it off."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from finetune_api.contract import Stage
from finetune_api.status import Attempt, Cause, Phase, Status
from finetune_trainer.checkpoint.layout import Head
from real.faults import Faults
from real.job import RealJob
from real.nodes import cordoned, first_node, schedulable
from real.publication import read_head
from real.store import Store
from real.story import gone_on

pytestmark = pytest.mark.tier("node")

EPOCHS = 200
"""More than are taken."""


@dataclass(frozen=True)
class Story:
    """One pod that goes on after it was given up, and the one in its place; cancelled then."""

    before: Status
    """When its kubelet stopped."""
    resumed: tuple[int, int]
    """Step and epoch of the checkpoint that the second attempt began with."""
    lost: Attempt
    head: Head


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store, faults: Faults) -> Story:
    job = new_job("twofold", workers={"nodes": 1}, training={"epochs": EPOCHS}, evaluation={"everySteps": 10_000})
    other = schedulable(job.access)[1]
    with cordoned(job.access, first_node(job.access)):
        job.apply()
        before = job.in_training()
    with faults.kubelet_lost(other):
        begin = gone_on(job, 2)
    job.change(cancel=True)
    job.ended(Phase.CANCELLED)
    with store.opened() as storage:
        head = read_head(storage, job.spec["output"]["uri"], before.run)
    return Story(before, begin, job.attempt(Stage.TRAIN, 1), head)


def test_the_pod_trained_on_when_its_node_was_given_up(story: Story) -> None:
    assert (story.lost.cause, story.lost.counted) == (Cause.DISRUPTED, False)
    heard = story.before.checkpoint
    assert heard is not None
    # A minute and a half hold hundreds of steps.
    assert story.resumed[0] > heard.step + 100


def test_none_of_its_checkpoints_counts_after_its_successor_has_begun(story: Story) -> None:
    epochs = [entry.epoch for entry in story.head.checkpoints]
    assert epochs == sorted(epochs)
    assert story.head.epoch == 2
    last = next(entry for entry in reversed(story.head.checkpoints) if entry.epoch == 1)
    assert story.resumed == (last.step, last.epoch)
