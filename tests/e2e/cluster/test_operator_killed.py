"""The operator is killed while data is prepared, while a model trains, and while nobody sees the training end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from finetune_api.contract import Stage
from finetune_api.status import Cause, Status
from real.faults import Faults
from real.job import RealJob
from real.release import Release
from real.store import Store
from real.story import Finished, finish

pytestmark = pytest.mark.tier("node")


@dataclass(frozen=True)
class Story:
    """One job, and who looked after it."""

    finished: Finished
    restarts: int
    """Of the container of the operator's first pod."""
    operators: tuple[str, str]
    """The pods' names, before and after the last kill."""


def nearly_done(status: Status) -> bool:
    told = status.progress
    return told is not None and told.step is not None and told.step > 0.8 * (told.total_steps or 0)


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store, operator_release: Release, faults: Faults) -> Story:
    job, first = new_job("orphaned"), operator_release.pod["metadata"]["name"]
    before = operator_release.restarts

    job.apply()
    job.wait(lambda _: job.pods(Stage.PREPARE), "with a pod that prepares")
    faults.kill_container(operator_release.namespace, first)

    job.in_training()
    faults.kill_container(operator_release.namespace, first)

    job.wait(nearly_done, "nearly done")
    restarts = operator_release.restarts - before
    # Another pod, unlike another container in the same one, has to wait until the dead one's lease is over.
    operator_release.kubectl("delete", "pod", first, "--grace-period=0", "--force")
    finished = finish(job, store)
    return Story(finished, restarts, (first, operator_release.pod["metadata"]["name"]))


def test_the_operator_was_killed_three_times(story: Story) -> None:
    before, after = story.operators
    assert story.restarts == 2
    assert before != after


def test_nothing_is_done_twice(story: Story, uninterrupted: Finished) -> None:
    attempts = story.finished.status.attempts
    assert [(each.stage, each.number, each.cause) for each in attempts] == [
        (Stage.PREPARE, 1, Cause.COMPLETED),
        (Stage.TRAIN, 1, Cause.COMPLETED),
    ]
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in story.finished.pods[Stage.TRAIN]] == [0, 0]
    assert story.finished.publication.head.epoch == 1
    assert story.finished.publication.same_model_as(uninterrupted.publication)


def test_what_nobody_saw_is_told_all_the_same(story: Story, uninterrupted: Finished) -> None:
    told, expected = story.finished.status, uninterrupted.status
    assert told.metrics == expected.metrics
    assert (told.data, told.resolved, told.run) == (expected.data, expected.resolved, expected.run)
    assert {each.type: (each.status, each.reason) for each in told.conditions} == {
        each.type: (each.status, each.reason) for each in expected.conditions
    }
