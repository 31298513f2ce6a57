"""The operator is killed while data is prepared, while a model trains, and while nobody sees the training end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from finetune_api.contract import Stage
from finetune_api.status import Cause, Status
from real.faults import Faults, delete_at_once, kill_operator
from real.job import RealJob
from real.release import Release
from real.store import Store
from real.story import Finished, finish

pytestmark = pytest.mark.tier("node")


@dataclass(frozen=True)
class Story:
    """One job, and the four operators that looked after it."""

    finished: Finished
    operators: list[tuple[str, int]]
    """Pod and restarts of each."""


def nearly_done(status: Status) -> bool:
    told = status.progress
    return told is not None and told.step is not None and told.step > 0.8 * (told.total_steps or 0)


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store, operator_release: Release, own_faults: Faults | None) -> Story:
    job, operators = new_job("orphaned"), [operator_release.incarnation]

    job.apply()
    job.wait(lambda _: job.pods(Stage.PREPARE), "with a pod that prepares")
    kill_operator(operator_release, own_faults)

    job.in_training()
    operators.append(operator_release.incarnation)
    kill_operator(operator_release, own_faults)

    job.wait(nearly_done, "nearly done")
    operators.append(operator_release.incarnation)
    # Another pod, unlike another container in the same one, has to wait until the dead one's lease is over.
    delete_at_once(operator_release, operators[-1][0])
    finished = finish(job, store)
    return Story(finished, [*operators, operator_release.incarnation])


def test_the_operator_was_killed_three_times(story: Story) -> None:
    assert len(set(story.operators)) == 4, story.operators


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
