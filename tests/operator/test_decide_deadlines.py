"""Deadlines and the next look, to the second."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from finetune_api.job import FineTuneJob
from finetune_api.result import Failure
from finetune_api.status import ConditionType
from finetune_operator.apply import Kind, Ref
from finetune_operator.decide import deadlines
from finetune_operator.decide.conditions import FALSE, TRUE, State, merge
from finetune_operator.observe import Observed, Refusal, WorkloadObserved
from observed import (
    NOW,
    TRAIN_1,
    a_fine_tune_job,
    a_job,
    a_pod,
    ago,
    an_attempt,
    an_ended_attempt,
    prepared_status,
    waiting,
)

RUNS = Observed(jobs=(a_job(),), pods=(a_pod(0), a_pod(1)))
STARTS = Observed(jobs=(a_job(),), pods=(a_pod(0), waiting(1)))
RIVAL = Ref(Kind.FINE_TUNE_JOB, "ml", "other")
QUEUED = Observed(jobs=(a_job(suspended=True),))


def a_starting_job(**spec: Any) -> FineTuneJob:
    """Its attempt was decided 600 s ago and has not run."""
    return a_fine_tune_job(prepared_status(an_attempt(running_time=None)), **spec)


def admitted(job: FineTuneJob, status: State, since: datetime) -> FineTuneJob:
    conditions = merge((), {ConditionType.ADMITTED: status}, generation=1, now=since)
    return job.model_copy(update={"status": job.status.model_copy(update={"conditions": conditions})})


@pytest.mark.parametrize(("seconds", "is_over"), [(3601, False), (3600, True)])
def test_the_active_deadline_counts_from_the_start(seconds: int, is_over: bool) -> None:
    failure = deadlines.expired(a_fine_tune_job(deadlines={"activeSeconds": seconds}), RUNS, NOW)
    assert (failure is not None) == is_over
    if failure is not None:
        assert (failure.reason, failure.field) == ("DeadlineExceeded", "spec.deadlines.activeSeconds")


@pytest.mark.parametrize(("seconds", "is_over"), [(101, False), (100, True)])
def test_the_queue_deadline_counts_from_when_the_queue_took_the_job(seconds: int, is_over: bool) -> None:
    job = admitted(a_starting_job(deadlines={"pendingSeconds": seconds}), State(FALSE, "Queued"), ago(100))
    failure = deadlines.expired(job, QUEUED, NOW)
    assert (failure is not None) == is_over
    assert deadlines.expired(job, STARTS, NOW) is None


def test_the_queue_deadline_says_what_the_queue_waited_for() -> None:
    workload = WorkloadObserved(
        job_uid="job-1", active=True, reason="Inadmissible", message="LocalQueue gpus doesn't exist", evicted=None
    )
    observed = Observed(jobs=(a_job(suspended=True, queue="gpus"),), workloads=(workload,))
    job = admitted(a_starting_job(deadlines={"pendingSeconds": 60}), State(FALSE, "Inadmissible"), ago(60))
    assert deadlines.expired(job, observed, NOW) == Failure(
        reason="QueueDeadline",
        message=f"not admitted by its queue within 60 s: Job {TRAIN_1} waits in queue gpus: "
        "LocalQueue gpus doesn't exist",
        field="spec.scheduling.queueName",
    )


def test_what_was_admitted_for_long_has_not_queued_for_long_when_its_queue_takes_it_back() -> None:
    job = admitted(a_fine_tune_job(deadlines={"pendingSeconds": 60}), State(TRUE, "Admitted"), ago(3600))
    assert deadlines.expired(job, QUEUED, NOW) is None


@pytest.mark.parametrize(("seconds", "is_over"), [(601, False), (600, True)])
def test_the_start_deadline_counts_from_the_attempt(seconds: int, is_over: bool) -> None:
    end = deadlines.start_expired(a_starting_job(deadlines={"startSeconds": seconds}), STARTS, NOW)
    assert (end is not None) == is_over
    if end is not None:
        assert end.failure is not None
        assert end.failure.field == "spec.deadlines.startSeconds"
        assert end.failure.message == (
            "not all pods ran within 600 s: 1 of 2 pods run; Pod triage-5f0c1-train-1-1 on node node-1: Pending"
        )


@pytest.mark.parametrize(("seconds", "is_over"), [(101, False), (100, True)])
def test_the_start_deadline_counts_from_admission(seconds: int, is_over: bool) -> None:
    job = a_starting_job(deadlines={"startSeconds": seconds})
    assert deadlines.start_expired(job, QUEUED, NOW) is None
    job = admitted(job, State(FALSE, "Queued"), ago(100))
    assert deadlines.start_expired(job, STARTS, NOW) is None
    job = admitted(job, State(TRUE, "Admitted"), ago(100))
    assert (deadlines.start_expired(job, STARTS, NOW) is not None) == is_over


def test_what_has_run_is_not_late() -> None:
    job = a_fine_tune_job(deadlines={"startSeconds": 1})
    assert deadlines.start_expired(job, RUNS, NOW) is None
    assert deadlines.start_expired(job, STARTS, NOW) is None


def test_what_ran_before_its_queue_stopped_it_starts_anew() -> None:
    job = admitted(a_fine_tune_job(deadlines={"startSeconds": 60}), State(TRUE, "Admitted"), ago(60))
    assert deadlines.start_expired(job, STARTS, NOW) is not None


@pytest.mark.parametrize("asked", [{"suspend": True}, {"cancel": True}])
def test_what_is_to_stop_anyway_is_not_late(asked: dict[str, bool]) -> None:
    job = a_starting_job(deadlines={"startSeconds": 60}, **asked)
    assert deadlines.start_expired(job, STARTS, NOW) is None


@pytest.mark.parametrize("stopping", [{"failing": True}, {"deletion_time": NOW}])
def test_what_is_being_stopped_is_not_late(stopping: dict[str, Any]) -> None:
    job = a_starting_job(deadlines={"startSeconds": 60})
    assert deadlines.start_expired(job, STARTS, NOW) is not None
    observed = Observed(jobs=(a_job(**stopping),), pods=(a_pod(0, deletion_time=ago(-60)),))
    assert deadlines.start_expired(job, observed, NOW) is None


@pytest.mark.parametrize(
    ("job", "observed", "seconds"),
    [
        (a_fine_tune_job(), RUNS, None),
        (a_fine_tune_job(deadlines={"activeSeconds": 4000}), RUNS, 400),
        (a_starting_job(), STARTS, 300),
        (a_starting_job(deadlines={"activeSeconds": 3700}), STARTS, 100),
        (a_starting_job(), QUEUED, None),
        (a_starting_job(), Observed(jobs=(a_job(start_time=ago(5)),), pods=(a_pod(0),)), 10),
        (a_starting_job(), Observed(jobs=(a_job(start_time=ago(15)),), pods=(a_pod(0),)), 300),
        (a_fine_tune_job(), Observed(jobs=RUNS.jobs, pods=RUNS.pods, rivals=(RIVAL,)), 30),
        (admitted(a_starting_job(deadlines={"pendingSeconds": 70}), State(FALSE, "Queued"), ago(60)), QUEUED, 10),
        (a_fine_tune_job(), Observed(pods=(a_pod(0, deletion_time=ago(-120)),)), 150),
        (a_fine_tune_job(), Observed(pods=(a_pod(0, deletion_time=ago(40)),)), 5),
        (a_fine_tune_job(prepared_status(*[an_ended_attempt(9)])), Observed(), None),
    ],
)
def test_time_alone_is_waited_for_exactly(job: FineTuneJob, observed: Observed, seconds: float | None) -> None:
    assert deadlines.next_look(job, observed, NOW) == seconds


@pytest.mark.parametrize(("age", "seconds"), [(0, 1), (10, 5), (60, 30), (500, 60)])
def test_what_was_refused_is_asked_for_again_ever_more_slowly(age: float, seconds: float) -> None:
    status = prepared_status(an_attempt(job_uid=None, running_time=None, start_time=ago(age)))
    refused = Observed(refusal=Refusal(kind=Kind.JOB, name="j", message="quota", taken=False))
    assert deadlines.next_look(a_fine_tune_job(status), refused, NOW) == seconds


@pytest.mark.parametrize(("age", "seconds"), [(0, 1), (10, 5), (60, 30), (500, 60)])
def test_kueue_is_asked_again_ever_more_slowly_why_a_job_waits(age: float, seconds: float) -> None:
    job = admitted(a_starting_job(), State(FALSE, "Queued"), ago(age))
    assert deadlines.next_look(job, replace(QUEUED, workloads=()), NOW) == seconds


def test_nobody_asks_kueue_of_a_job_that_runs() -> None:
    job = admitted(a_fine_tune_job(), State(TRUE, "Admitted"), ago(60))
    assert deadlines.next_look(job, replace(RUNS, workloads=()), NOW) is None


def test_a_finished_job_is_looked_at_only_while_pods_of_it_are_left() -> None:
    done = merge((), {ConditionType.FINISHED: State(TRUE, "Cancelled")}, generation=1, now=NOW)
    job = a_fine_tune_job(prepared_status(conditions=done), deadlines={"activeSeconds": 1})
    assert deadlines.next_look(job, Observed(), NOW) is None
    stopping = Observed(pods=(a_pod(0, deletion_time=NOW),))
    assert deadlines.next_look(job, stopping, NOW) == 30


def test_rank_0_is_silent_a_minute_after_it_was_last_heard() -> None:
    running = merge((), {ConditionType.RUNNING: State(TRUE, "Training")}, generation=1, now=ago(300))
    assert deadlines.silent_from(prepared_status(conditions=running)) == ago(240)
    assert deadlines.silent_from(prepared_status(conditions=running, progress_time=ago(20))) == NOW + timedelta(
        seconds=40
    )
    assert deadlines.silent_from(prepared_status(progress_time=ago(20))) is None
