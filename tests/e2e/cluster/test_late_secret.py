"""A Secret that GitOps delivers after the job is waited for; a job that is deleted takes all with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from finetune_api.contract import Stage
from finetune_api.status import ConditionType, Phase, Status
from finetune_operator.decide.conditions import condition
from real.account import account
from real.job import RealJob
from real.store import SECRET, Store

pytestmark = pytest.mark.tier("node")

LATE_SECONDS = 20


@dataclass(frozen=True)
class Story:
    """Applied without its Secret, which comes; deleted in mid-training."""

    job: RealJob
    waiting: Status
    """When the Secret had been missing for long."""
    training: Status
    children: list[str]
    """In mid-training."""


@pytest.fixture(scope="module")
def story(new_job: Callable[..., RealJob], store: Store) -> Story:
    job = new_job("eager", keys=False)
    job.apply()
    time.sleep(LATE_SECONDS)
    waiting = job.status
    job.access.apply(store.keys(job.namespace))
    training = job.in_training()
    children = job.children()
    job.delete()
    return Story(job, waiting, training, children)


def test_a_missing_secret_is_named(story: Story) -> None:
    reconciling = condition(story.waiting, ConditionType.RECONCILING)
    assert story.waiting.phase is Phase.PREPARING
    assert reconciling is not None
    assert reconciling.reason == "ContainerConfig"
    assert SECRET in reconciling.message


def test_and_costs_no_attempt(story: Story) -> None:
    assert [(each.stage, each.number) for each in story.training.attempts] == [(Stage.PREPARE, 1), (Stage.TRAIN, 1)]
    assert story.training.restart_times == ()


def test_deleting_the_job_removes_every_child(story: Story) -> None:
    kinds = {child.split("/")[0] for child in story.children}
    assert kinds == {"ConfigMap", "Job", "NetworkPolicy", "Pod", "Service"}

    deadline = time.monotonic() + 60
    while left := story.job.children():
        assert time.monotonic() < deadline, f"{left}\n\n{account(story.job.access, story.job.namespace)}"
        time.sleep(0.5)
