"""What a queue's decision is called: the operator's reason for machines, Kueue's words for people."""

from __future__ import annotations

import pytest

from finetune_api.contract import Stage
from finetune_api.status import Attempt, Cause, Status
from finetune_operator.decide.admission import admitted, was_admitted
from finetune_operator.decide.conditions import FALSE, TRUE, UNKNOWN, State
from finetune_operator.observe import JobObserved, Observed, WorkloadObserved
from observed import PREPARE_1, TRAIN_1, a_fine_tune_job, a_job, ago, an_attempt, an_ended_attempt, prepared_status

WAITS = f"Job {TRAIN_1} waits in queue gpus"
FULL = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 2 more needed"


def a_workload(
    reason: str = "Pending", message: str = FULL, *, active: bool = True, evicted: str | None = None
) -> Observed:
    """Of a train Job that is held back in the queue gpus."""
    workload = WorkloadObserved(job_uid="job-1", active=active, reason=reason, message=message, evicted=evicted)
    return Observed(jobs=(held_job(),), workloads=(workload,))


def held_job(queue: str | None = "gpus") -> JobObserved:
    return a_job(suspended=True, queue=queue)


UNFINISHED = {
    "has no attempt": (Status(), Observed(), State(UNKNOWN, "Pending")),
    "has no Job yet": (prepared_status(an_attempt()), Observed(), State(UNKNOWN, "Pending")),
    "runs, and nobody was asked": (
        prepared_status(an_attempt()),
        Observed(jobs=(a_job(),)),
        State(TRUE, "NotQueued"),
    ),
    "was let in": (
        prepared_status(an_attempt()),
        Observed(jobs=(a_job(queue="gpus"),)),
        State(TRUE, "Admitted"),
    ),
    "is held back, and nobody asks Kueue": (
        prepared_status(an_attempt()),
        Observed(jobs=(held_job(),)),
        State(FALSE, "Queued", WAITS),
    ),
    "is held back, before Kueue has seen it": (
        prepared_status(an_attempt()),
        Observed(jobs=(held_job(),), workloads=()),
        State(FALSE, "Queued", WAITS),
    ),
    "is held back, and Kueue has said nothing": (
        prepared_status(an_attempt()),
        a_workload("", ""),
        State(FALSE, "Queued", WAITS),
    ),
    "waits for quota": (
        prepared_status(an_attempt()),
        a_workload(),
        State(FALSE, "Queued", f"{WAITS}: {FULL}"),
    ),
    "waits in a queue that does not exist": (
        prepared_status(an_attempt()),
        a_workload("Inadmissible", "LocalQueue gpus doesn't exist"),
        State(FALSE, "Inadmissible", f"{WAITS}: LocalQueue gpus doesn't exist (spec.scheduling.queueName)"),
    ),
    "was taken out of the queue": (
        prepared_status(an_attempt()),
        a_workload("Pending", "The workload is deactivated", active=False),
        State(FALSE, "Inadmissible", f"{WAITS}: The workload is deactivated (spec.scheduling.queueName)"),
    ),
    "was preempted": (
        prepared_status(an_attempt()),
        a_workload(evicted="Preempted"),
        State(FALSE, "Preempted", f"{WAITS}: {FULL}"),
    ),
    "was evicted for another reason": (
        prepared_status(an_attempt()),
        a_workload(evicted="PodsReadyTimeout"),
        State(FALSE, "Queued", f"{WAITS}: {FULL}"),
    ),
    "is held back by somebody else": (
        prepared_status(an_attempt()),
        Observed(jobs=(held_job(queue=None),), workloads=()),
        State(FALSE, "Queued", f"Job {TRAIN_1} is suspended, not by us"),
    ),
}


@pytest.mark.parametrize(("status", "observed", "state"), UNFINISHED.values(), ids=UNFINISHED)
def test_a_job_that(status: Status, observed: Observed, state: State) -> None:
    assert admitted(a_fine_tune_job(status), observed) == state


AGAIN = {
    "a crash": (an_ended_attempt(1, cause=Cause.CRASHED), a_workload(), "RequeuedAfterFailure"),
    "an eviction, which is nobody's fault": (
        an_ended_attempt(1, cause=Cause.SUSPENDED, counted=False),
        a_workload(),
        "Queued",
    ),
    "a crash of another stage": (
        an_ended_attempt(1, stage=Stage.PREPARE, cause=Cause.CRASHED),
        a_workload(),
        "Queued",
    ),
    "a crash, into a queue that is gone": (
        an_ended_attempt(1, cause=Cause.CRASHED),
        a_workload("Inadmissible", "LocalQueue gpus doesn't exist"),
        "Inadmissible",
    ),
}


@pytest.mark.parametrize(("earlier", "observed", "reason"), AGAIN.values(), ids=AGAIN)
def test_the_next_attempt_queues_anew_after(earlier: Attempt, observed: Observed, reason: str) -> None:
    again = an_attempt(2, job_name=TRAIN_1, job_uid="job-1")
    assert admitted(a_fine_tune_job(prepared_status(earlier, again)), observed).reason == reason


QUEUES = {"scheduling": {"queueName": "gpus"}}
ENDED = {
    "trained in its queue": (an_ended_attempt(1, cause=Cause.COMPLETED), State(TRUE, "Admitted")),
    "prepared without one": (
        an_ended_attempt(1, stage=Stage.PREPARE, job_name=PREPARE_1, cause=Cause.COMPLETED, running_time=None),
        State(TRUE, "NotQueued"),
    ),
    "never ran": (an_ended_attempt(1, cause=Cause.CANCELLED, running_time=None), State(UNKNOWN, "Pending")),
}


@pytest.mark.parametrize(("last", "state"), ENDED.values(), ids=ENDED)
def test_at_its_end_a_job_was_admitted_if_it_ever_ran(last: Attempt, state: State) -> None:
    assert was_admitted(a_fine_tune_job(prepared_status(last, start_time=ago(60)), **QUEUES)) == state
