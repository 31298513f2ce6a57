"""The API server is away for a minute while a model trains: training goes on, and status catches up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from cluster_client import Manifest
from finetune_api.contract import Stage
from finetune_api.status import Cause, Status
from real.faults import Faults
from real.job import RealJob
from real.store import Store
from real.story import Finished, finish

pytestmark = pytest.mark.tier("node")

AWAY_SECONDS = 60
EPOCHS = 50
"""Of steps enough to outlast that."""


@dataclass(frozen=True)
class Story:
    """Away in mid-training."""

    finished: Finished
    before: Status
    pods: list[Manifest]
    """In training, before."""
    after: Status
    """The first that tells of a later time."""


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store, faults: Faults) -> Story:
    job = new_job("alone", training={"epochs": EPOCHS}, evaluation={"everySteps": 1000})
    job.apply()
    before = job.in_training()
    pods = job.pods(Stage.TRAIN)
    with faults.api_server_away():
        time.sleep(AWAY_SECONDS)
    after = job.wait(lambda status: status if is_news(status, before) else None, "told of anew")
    return Story(finish(job, store), before, pods, after)


def is_news(status: Status, before: Status) -> bool:
    return status.finish_time is not None or status.progress_time != before.progress_time


def test_nothing_restarts(story: Story) -> None:
    attempts = story.finished.status.attempts
    assert [(each.stage, each.number, each.cause) for each in attempts] == [
        (Stage.PREPARE, 1, Cause.COMPLETED),
        (Stage.TRAIN, 1, Cause.COMPLETED),
    ]
    assert [pod["metadata"]["uid"] for pod in story.finished.pods[Stage.TRAIN]] == [
        pod["metadata"]["uid"] for pod in story.pods
    ]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in story.finished.pods[Stage.TRAIN]] == [0, 0]
    assert story.finished.publication.head.epoch == 1


def test_training_went_on_meanwhile(story: Story) -> None:
    before, after = story.before.progress, story.after.progress
    assert before is not None
    assert before.step is not None
    assert after is not None
    assert after.step is not None
    # A minute holds hundreds of them.
    assert after.step > before.step + 50
