"""One pod deleted, one container killed, one node lost: each gang goes on from a step that counts, without a gap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from finetune_api.contract import Stage
from finetune_api.status import Cause
from finetune_trainer.checkpoint.layout import Entry
from real.faults import Faults, kill_training
from real.job import RealJob
from real.nodes import first_node
from real.store import Store
from real.story import Finished, finish, gone_on

pytestmark = pytest.mark.tier("node")


@dataclass(frozen=True)
class Story:
    """A gang hit three times, each time in mid-run, or twice where no node can be lost."""

    finished: Finished
    lost_node: str | None
    resumed: list[tuple[int, int]]
    """Step and epoch from which the attempts 2, 3 and 4 went on."""

    def last_of_epoch(self, epoch: int) -> Entry:
        """The newest checkpoint that the start with this epoch committed."""
        return next(entry for entry in reversed(self.finished.publication.head.checkpoints) if entry.epoch == epoch)


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store, own_faults: Faults | None) -> Story:
    job = new_job("hit")
    job.apply()

    job.in_training(1)
    job.kubectl("delete", "pod", job.pods(Stage.TRAIN, 1)[1]["metadata"]["name"], "--now", "--wait=false")

    begins = [gone_on(job, 2)]
    rank_0 = job.pods(Stage.TRAIN, 2)[0]["metadata"]["name"]
    kill_training(job.access, job.namespace, rank_0, own_faults)

    begins.append(gone_on(job, 3))
    if own_faults is None:
        return Story(finish(job, store), None, begins)
    first, second = (pod["spec"]["nodeName"] for pod in job.pods(Stage.TRAIN, 3))
    lost = second if first == first_node(job.access) else first
    with own_faults.node_lost(lost):
        begins.append(gone_on(job, 4))
    # What was cut off meets its successor here, and must do no harm.
    return Story(finish(job, store), lost, begins)


@pytest.mark.timeout(60)
def test_each_attempt_goes_on_from_the_last_checkpoint_that_counts(story: Story) -> None:
    assert story.finished.publication.head.epoch == len(story.resumed) + 1
    for epoch, begin in enumerate(story.resumed, 1):
        last = story.last_of_epoch(epoch)
        assert begin == (last.step, last.epoch)


def test_the_loss_curve_has_no_gap(story: Story, uninterrupted: Finished) -> None:
    assert story.finished.publication.losses == uninterrupted.publication.losses
    assert story.finished.publication.same_model_as(uninterrupted.publication)


def test_status_tells_what_happened_and_counts_what_is_a_failure(story: Story) -> None:
    first, second, *_, last = story.finished.attempts(Stage.TRAIN)
    assert (first.cause, first.counted) == (Cause.CRASHED, True), first
    assert (second.cause, second.counted, second.exit_code) == (Cause.CRASHED, True, 137), second
    assert last.cause is Cause.COMPLETED
    assert [attempt.number for attempt in story.finished.attempts(Stage.PREPARE)] == [1]


def test_a_lost_node_is_nobodys_failure(story: Story) -> None:
    if story.lost_node is None:
        pytest.skip("needs nodes of our own, to take them away")
    third = story.finished.attempts(Stage.TRAIN)[2]
    assert (third.cause, third.counted, third.node) == (Cause.DISRUPTED, False, story.lost_node), third
