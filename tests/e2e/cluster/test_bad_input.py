"""Mistakes that only a cluster notices: told with the field to change, healed when the cause goes.

Jobs wait side by side, for waiting costs nothing, and what has healed is deleted as soon as it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cluster_client import Manifest
from finetune_api.contract import Stage
from finetune_api.status import ConditionType, Phase, Status
from finetune_operator.decide.conditions import TRUE, condition
from finetune_operator.decide.reasons import Reason
from jobs import merge
from node.state import State
from real.job import RealJob
from real.materials import BUCKET
from real.mistakes import MISTAKES, Means, Mistake
from real.restricted import secret
from real.store import SECRET, Store

pytestmark = pytest.mark.tier("node")

STARTED = 300.0
"""Seconds for what nothing hinders, while others start, too."""
AT_ONCE = 8
"""Stories: an explanation is not to wait for cores that all the others take."""
READABLE, CLOSED = "readable", "closed"
"""Buckets, by what a guest may do there."""

Given = Callable[[Store, str], Sequence[Manifest]]
NewJob = Callable[..., RealJob]


@dataclass(frozen=True)
class Story:
    """What was told, and the status in the end."""

    told: str
    status: Status


@dataclass(frozen=True)
class Teller:
    """Makes the stories happen."""

    new_job: NewJob
    means: Means

    def cured(self, mistake: Mistake) -> Story:
        """The cause goes, and the stage runs."""
        job, told = self._hindered(mistake)
        mistake.cure(job, self.means)
        runs = _is_prepared if mistake.stage is Stage.PREPARE else _trains
        status = job.wait(runs, "healed", within=STARTED)
        job.delete()
        return Story(told, status)

    def given_up(self, mistake: Mistake) -> Story:
        """The cause stays, and the deadline comes."""
        job, told = self._hindered(mistake)
        job.change(deadlines={"startSeconds": 1})
        return Story(told, job.ended(Phase.FAILED))

    def refused(self, given: Given, **spec: Any) -> Story:
        """The store refuses what the job asks of it."""
        return self._refused(given, **spec)[1]

    def let_in(self) -> Story:
        """A bucket is forbidden; it is opened, and the job deleted and applied again."""
        job, story = self._refused(_guest, data={"sources": [{"uri": f"s3://{CLOSED}/raw/*.jsonl"}]})
        self.means.store.admit_guest(CLOSED, "s3:ListBucket", "s3:GetObject")
        job.delete()
        job.apply()
        status = job.wait(_is_prepared, "prepared", within=STARTED)
        job.delete()
        return Story(story.told, status)

    def rival_gone(self) -> Story:
        """Two suspended jobs have one output, and the first is deleted."""
        first = self.new_job("first", suspend=True)
        second = replace(first, name="second", versions=[])
        first.apply()
        second.apply()
        told = _explained(second, ConditionType.SUCCEEDED, Reason.OUTPUT_SHARED)
        first.delete()
        _explained(second, ConditionType.SUCCEEDED, Reason.SUSPENDED)
        return Story(told, second.status)

    def rivals(self) -> tuple[Story, Status]:
        """A second job with the same output is applied while the first trains; and how the first one fares."""
        first = self.new_job("first", workers={"nodes": 1}, training={"epochs": 1000})
        second = replace(first, name="second", versions=[])
        first.apply()
        first.in_training(within=STARTED)
        second.apply()
        told = _explained(second, ConditionType.SUCCEEDED, Reason.OUTPUT_SHARED)
        story = Story(told, second.ended(Phase.FAILED, within=STARTED))
        checkpoint = first.status.checkpoint
        assert checkpoint is not None
        after = first.in_training(beyond=checkpoint.step)
        first.delete()
        return story, after

    def _hindered(self, mistake: Mistake) -> tuple[RealJob, str]:
        """The job that waits, and its explanation."""
        job = self._applied(mistake.given, mistake.spec)
        if mistake.stage is Stage.TRAIN:
            job.wait(_is_prepared, "prepared", within=STARTED)
        return job, _explained(job, ConditionType.RUNNING, mistake.reason)

    def _refused(self, given: Given, **spec: Any) -> tuple[RealJob, Story]:
        job = self._applied(given, lambda _: spec)
        status = job.ended(Phase.FAILED)
        stalled = condition(status, ConditionType.STALLED)
        assert stalled is not None
        return job, Story(stalled.message, status)

    def _applied(self, given: Given, spec: Callable[[str], Mapping[str, Any]]) -> RealJob:
        job = self.new_job("tickets", keys=False, workers={"nodes": 1})
        job = replace(job, spec=merge(job.spec, spec(job.namespace)))
        job.access.apply(*given(self.means.store, job.namespace), job.manifest)
        return job


def _explained(job: RealJob, kind: ConditionType, reason: Reason) -> str:
    """What this condition says with this reason."""

    def told(status: Status) -> str | None:
        said = condition(status, kind)
        return said.message if said is not None and said.reason == reason else None

    return job.wait(told, f"told of {reason}")


def _is_prepared(status: Status) -> Status | None:
    prepared = condition(status, ConditionType.PREPARED)
    return status if prepared is not None and prepared.status is TRUE else None


def _trains(status: Status) -> Status | None:
    return status if status.phase is Phase.TRAINING else None


def _guest(store: Store, namespace: str) -> Sequence[Manifest]:
    return [store.guest_keys(namespace)]


def _nobody(store: Store, namespace: str) -> Sequence[Manifest]:
    return [secret(SECRET, namespace, accessKeyId="nobody", secretAccessKey="nothing")]


@pytest.fixture(scope="module")
def stories(new_job: NewJob, store: Store, own_nodes: State | None) -> Iterator[Mapping[tuple[str, str], Future[Any]]]:
    """By their kind and the mistake that they tell of."""
    for bucket in (READABLE, CLOSED):
        store.create_bucket(bucket)
    store.admit_guest(BUCKET, "s3:*")
    store.admit_guest(READABLE, "s3:ListBucket", "s3:GetObject")
    with store.opened() as storage:
        for stored in storage.list(f"s3://{BUCKET}/raw/"):
            storage.write(stored.uri.replace(BUCKET, CLOSED, 1), storage.read(stored.uri)[0])
    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as threads:
        teller = Teller(new_job, Means(store, own_nodes, stack))
        output = {"uri": f"s3://{READABLE}/out"}
        told: dict[tuple[str, str], Future[Any]] = {
            ("let in", "forbidden input"): threads.submit(teller.let_in),
            ("refused", "forbidden output"): threads.submit(teller.refused, _guest, output=output),
            ("refused", "unknown keys"): threads.submit(teller.refused, _nobody),
            ("rivals", "one output"): threads.submit(teller.rivals),
            ("rival gone", "one output"): threads.submit(teller.rival_gone),
        }
        for mistake in MISTAKES:
            if own_nodes is not None or not mistake.needs_own_nodes:
                told["cured", mistake.name] = threads.submit(teller.cured, mistake)
            told["given up", mistake.name] = threads.submit(teller.given_up, mistake)
        wait(told.values())
        yield told


each = pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name.replace(" ", "-"))


@each
def test_a_mistake_is_told_and_heals_once_its_cause_goes(
    stories: Mapping[tuple[str, str], Future[Story]], mistake: Mistake
) -> None:
    if ("cured", mistake.name) not in stories:
        pytest.skip("needs nodes of our own, not those of FINETUNE_TEST_KUBECONFIG")
    story = stories["cured", mistake.name].result()
    assert mistake.says in story.told
    assert story.told.endswith(f"({mistake.field})")
    # Whoever waits for something has not failed.
    assert story.status.restart_times == ()


@each
def test_a_mistake_that_stays_ends_the_job_at_its_start_deadline(
    stories: Mapping[tuple[str, str], Future[Story]], mistake: Mistake
) -> None:
    story = stories["given up", mistake.name].result()
    failure = story.status.failure
    assert failure is not None
    assert (failure.reason, failure.field) == (mistake.reason, mistake.field)
    assert mistake.says in failure.message


def test_a_forbidden_input_is_named_and_read_once_it_is_allowed(
    stories: Mapping[tuple[str, str], Future[Story]],
) -> None:
    told = stories["let in", "forbidden input"].result().told
    assert told.startswith(f"spec.data.sources[0].uri: s3://{CLOSED}/raw/: access denied")


def test_a_forbidden_output_is_named(stories: Mapping[tuple[str, str], Future[Story]]) -> None:
    story = stories["refused", "forbidden output"].result()
    assert story.told.startswith(f"spec.output.uri: s3://{READABLE}/out/")
    assert story.status.failure is not None
    assert (story.status.failure.reason, story.status.failure.field) == ("AccessDenied", "spec.output.uri")


def test_keys_that_the_store_does_not_know_are_told_with_their_secret(
    stories: Mapping[tuple[str, str], Future[Story]],
) -> None:
    story = stories["refused", "unknown keys"].result()
    assert "the store refuses the keys" in story.told
    assert story.status.failure is not None
    assert story.status.failure.field == "spec.storage.secretName"


def test_a_second_writer_of_an_output_is_told_until_the_first_is_gone(
    stories: Mapping[tuple[str, str], Future[Story]],
) -> None:
    story = stories["rival gone", "one output"].result()
    assert story.told.startswith("FineTuneJob first has the same output: ")
    assert story.told.endswith("(spec.output.uri)")
    assert story.status.phase is Phase.SUSPENDED


def test_a_second_writer_fails_and_the_first_trains_on(
    stories: Mapping[tuple[str, str], Future[tuple[Story, Status]]],
) -> None:
    second, first = stories["rivals", "one output"].result()
    assert second.told.endswith("(spec.output.uri)")
    assert second.status.failure is not None
    assert (second.status.failure.reason, second.status.failure.field) == ("OutputInUse", "spec.output.uri")
    assert [attempt.number for attempt in first.attempts if attempt.stage is Stage.TRAIN] == [1]
