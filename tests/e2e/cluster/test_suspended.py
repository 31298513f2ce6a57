"""Suspended, a job gives back every pod and loses no step; resumed, it goes on as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from finetune_api.contract import Stage
from finetune_api.status import Cause, Phase, Status
from real.job import RealJob
from real.store import Store
from real.story import Finished, finish, resumed

pytestmark = pytest.mark.tier("node")


@dataclass(frozen=True)
class Story:
    """Suspended in mid-training, and resumed."""

    finished: Finished
    suspended: Status
    left: list[str]
    """Children while it was suspended."""
    resumed_from: int
    """Step."""


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store) -> Story:
    job = new_job("paused")
    job.apply()
    job.in_training()
    job.change(suspend=True)
    job.kubectl("wait", f"finetunejob/{job.name}", "--for=condition=Suspended", "--timeout=60s", within=70)
    suspended, left = job.status, job.children()
    job.change(suspend=False)
    job.in_training(2)
    step, _ = resumed(job, 2)
    return Story(finish(job, store), suspended, left, step)


def test_suspended_means_that_no_pod_is_left(story: Story) -> None:
    assert story.suspended.phase is Phase.SUSPENDED
    # What prepared the data stays for its log, ended.
    assert [child for child in story.left if "-prepare-1" not in child] == []


def test_no_step_is_lost_and_nothing_is_counted(story: Story, uninterrupted: Finished) -> None:
    first, second = story.finished.attempts(Stage.TRAIN)
    assert (first.cause, first.counted) == (Cause.SUSPENDED, False)
    assert second.cause is Cause.COMPLETED
    # Saved by all ranks together when they were told to stop: not the last one of those that are due each second.
    assert story.suspended.checkpoint is not None
    assert story.resumed_from == story.suspended.checkpoint.step
    assert story.finished.publication.losses == uninterrupted.publication.losses
    assert story.finished.publication.same_model_as(uninterrupted.publication)
