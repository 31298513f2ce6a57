"""Every situation of an unfinished job: its phase, and what kstatus and `kubectl wait` make of its conditions."""

from __future__ import annotations

from typing import Any

import pytest

from finetune_api.contract import Stage
from finetune_api.result import Failure
from finetune_api.status import Cause, Condition, ConditionStatus, ConditionType, Phase, Status
from finetune_operator.apply import Kind, Ref
from finetune_operator.decide import phases
from finetune_operator.decide.conditions import FALSE, State, merge
from finetune_operator.decide.phases import Outcome
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import Observed
from jobs import make_job
from observed import (
    NOW,
    PREPARE_1,
    a_fine_tune_job,
    a_job,
    a_pod,
    an_attempt,
    an_ended_attempt,
    ended,
    prepared_status,
    waiting,
)

C = ConditionType
PREPARING = an_attempt(stage=Stage.PREPARE, job_name=PREPARE_1, running_time=None)
PREPARE_JOB = a_job(name=PREPARE_1, stage=Stage.PREPARE, completions=1)
PREPARE_POD = a_pod(0, stage=Stage.PREPARE)
CRASHED = an_ended_attempt(1, cause=Cause.CRASHED)
BOTH = (a_pod(0), a_pod(1))
RAN = merge((), {C.RECONCILING: State(FALSE, Reason.STARTED)}, generation=1, now=NOW)


def kstatus(status: Status, generation: int = 1) -> str:
    """The algorithm of Flux, Helm and kpt, in the order of cli-utils' README."""
    if status.observed_generation != generation:
        return "InProgress"
    true = {each.type for each in status.conditions if each.status is ConditionStatus.TRUE}
    if C.RECONCILING in true:
        return "InProgress"
    return "Failed" if C.STALLED in true else "Current"


def by_type(status: Status) -> dict[ConditionType, Condition]:
    return {each.type: each for each in status.conditions}


SITUATIONS: dict[str, tuple[Status, Observed, dict[str, Any], Phase, str, str]] = {
    "fresh": (Status(), Observed(), {}, Phase.PENDING, "Pending", "InProgress"),
    "prepare is decided": (
        Status(attempts=(PREPARING.model_copy(update={"job_uid": None}),)),
        Observed(),
        {},
        Phase.PENDING,
        "Starting",
        "InProgress",
    ),
    "prepare is queued": (
        Status(attempts=(PREPARING,)),
        Observed(jobs=(a_job(name=PREPARE_1, suspended=True),)),
        {},
        Phase.QUEUED,
        "Queued",
        "InProgress",
    ),
    "prepare runs": (
        Status(attempts=(PREPARING,)),
        Observed(jobs=(PREPARE_JOB,), pods=(PREPARE_POD,)),
        {},
        Phase.PREPARING,
        "Preparing",
        "InProgress",
    ),
    "train is decided": (
        prepared_status(an_attempt(job_uid=None)),
        Observed(),
        {},
        Phase.STARTING,
        "Starting",
        "InProgress",
    ),
    "train starts": (
        prepared_status(an_attempt()),
        Observed(jobs=(a_job(),), pods=(a_pod(0), waiting(1, waiting_reason="ImagePullBackOff"))),
        {},
        Phase.STARTING,
        "ImagePull",
        "InProgress",
    ),
    "train runs": (
        prepared_status(an_attempt()),
        Observed(jobs=(a_job(),), pods=BOTH),
        {},
        Phase.TRAINING,
        "Training",
        "Current",
    ),
    "one rank has finished": (
        prepared_status(an_attempt()),
        Observed(jobs=(a_job(),), pods=(ended(0, 0), a_pod(1))),
        {},
        Phase.TRAINING,
        "Training",
        "Current",
    ),
    "the gang is being stopped": (
        prepared_status(an_attempt(), conditions=RAN),
        Observed(jobs=(a_job(failing=True),), pods=(ended(0, 1), a_pod(1))),
        {},
        Phase.RESTARTING,
        "Stopping",
        "Current",
    ),
    "its job was deleted, its pods still there": (
        prepared_status(an_attempt(), conditions=RAN),
        Observed(pods=BOTH),
        {},
        Phase.RESTARTING,
        "Stopping",
        "Current",
    ),
    "between attempts": (
        prepared_status(CRASHED, conditions=RAN),
        Observed(),
        {},
        Phase.RESTARTING,
        "BackOff",
        "Current",
    ),
    "the next attempt starts": (
        prepared_status(CRASHED, an_attempt(2), conditions=RAN),
        Observed(jobs=(a_job(name="triage-5f0c1-train-2", attempt=2),)),
        {},
        Phase.STARTING,
        "NoPods",
        "Current",
    ),
    "evicted by its queue": (
        prepared_status(an_attempt(), conditions=RAN),
        Observed(jobs=(a_job(suspended=True),)),
        {},
        Phase.QUEUED,
        "Queued",
        "Current",
    ),
    "suspended from the beginning": (
        Status(),
        Observed(),
        {"suspend": True},
        Phase.SUSPENDED,
        "Suspended",
        "Current",
    ),
    "suspended, pods still there": (
        prepared_status(CRASHED, phase=Phase.TRAINING, conditions=RAN),
        Observed(jobs=(a_job(),), pods=BOTH),
        {"suspend": True},
        Phase.TRAINING,
        "Stopping",
        "Current",
    ),
}


@pytest.mark.parametrize(
    ("status", "observed", "spec", "phase", "reason", "delivered"), SITUATIONS.values(), ids=SITUATIONS
)
def test_a_situation_has_one_name_and_eight_conditions(
    status: Status, observed: Observed, spec: dict[str, Any], phase: Phase, reason: str, delivered: str
) -> None:
    said = phases.described(a_fine_tune_job(status, **spec), observed, NOW)
    conditions = by_type(said)
    assert said.phase is phase
    assert conditions[C.RUNNING].reason == reason
    assert (conditions[C.RUNNING].status is ConditionStatus.TRUE) == (reason == "Training")
    assert (conditions[C.SUSPENDED].status is ConditionStatus.TRUE) == (phase is Phase.SUSPENDED)
    assert (conditions[C.SUCCEEDED].status, conditions[C.SUCCEEDED].reason) == ("Unknown", reason)
    assert conditions[C.FINISHED].status is ConditionStatus.FALSE
    assert conditions[C.STALLED].status is ConditionStatus.FALSE
    assert kstatus(said) == delivered
    assert list(conditions) == list(ConditionType)
    assert {each.observed_generation for each in said.conditions} == {1}


FAILURE = Failure(reason="Diverged", message="loss is NaN at step 7", field="spec.training.learningRate")
OUTCOMES = {
    "succeeded": (Outcome.succeeded(Reason.COMPLETED, "published"), Phase.SUCCEEDED, "True", "False", "Current"),
    "failed": (Outcome.failed(FAILURE), Phase.FAILED, "False", "True", "Failed"),
    "cancelled": (Outcome.cancelled(), Phase.CANCELLED, "False", "False", "Current"),
}


@pytest.mark.parametrize(("outcome", "phase", "succeeded", "stalled", "delivered"), OUTCOMES.values(), ids=OUTCOMES)
def test_an_end_is_finished_and_says_which(
    outcome: Outcome, phase: Phase, succeeded: str, stalled: str, delivered: str
) -> None:
    said = phases.finished(a_fine_tune_job(), outcome, NOW)
    conditions = by_type(said)
    assert (said.phase, said.finish_time, said.failure) == (phase, NOW, outcome.failure)
    assert (conditions[C.FINISHED].status, conditions[C.FINISHED].reason) == ("True", outcome.reason)
    assert (conditions[C.SUCCEEDED].status, conditions[C.STALLED].status) == (succeeded, stalled)
    assert conditions[C.RECONCILING].status == "False"
    assert kstatus(said) == delivered


def test_a_failure_says_what_to_change() -> None:
    said = by_type(phases.finished(a_fine_tune_job(), Outcome.failed(FAILURE), NOW))
    assert said[C.STALLED].message == "loss is NaN at step 7 (spec.training.learningRate)"


def test_what_is_waited_for_says_what_to_change() -> None:
    pods = (a_pod(0), waiting(1, waiting_reason="ErrImagePull", waiting_message="x" * 300))
    said = by_type(phases.described(a_fine_tune_job(), Observed(jobs=(a_job(),), pods=pods), NOW))
    assert said[C.RUNNING].message.endswith("xxx… (spec.workers.image)")
    assert said[C.RECONCILING].message == said[C.RUNNING].message


@pytest.mark.parametrize(("namespace", "name"), [("ml", "other"), ("theirs", "of another namespace")])
def test_a_job_whose_output_another_one_writes_too_is_told_how_that_may_end(namespace: str, name: str) -> None:
    rival = Ref(Kind.FINE_TUNE_JOB, namespace, "other")
    said = phases.described(a_fine_tune_job(), Observed(jobs=(a_job(),), pods=BOTH, rivals=(rival,)), NOW)
    succeeded = by_type(said)[C.SUCCEEDED]
    assert (succeeded.status, succeeded.reason, succeeded.message) == (
        "Unknown",
        "OutputShared",
        (
            f"FineTuneJob {name} has the same output: should both train the same run, one of them ends as OutputInUse. "
            "Give one another output, or cancel it (spec.output.uri)"
        ),
    )
    assert said.phase is Phase.TRAINING


def test_what_keeps_a_job_from_running_is_told_before_what_may_end_it() -> None:
    rival = Ref(Kind.FINE_TUNE_JOB, "ml", "other")
    said = phases.described(a_fine_tune_job(), Observed(jobs=(a_job(),), rivals=(rival,)), NOW)
    assert by_type(said)[C.SUCCEEDED].reason == by_type(said)[C.RUNNING].reason == "NoPods"


def test_a_fresh_object_is_in_progress_before_anybody_has_seen_it() -> None:
    assert kstatus(Status()) == "InProgress"


def test_what_is_latched_is_seen_for_the_new_generation_and_otherwise_unchanged() -> None:
    ended_status = phases.finished(a_fine_tune_job(), Outcome.failed(FAILURE), NOW)
    job = make_job(metadata={"generation": 7}, status=ended_status)
    again = phases.latched(job)
    assert kstatus(again, generation=7) == "Failed"
    assert again.model_copy(update={"observed_generation": 1, "conditions": ()}) == ended_status.model_copy(
        update={"conditions": ()}
    )


def test_an_unreadable_spec_stalls_without_ending_the_job() -> None:
    job = a_fine_tune_job()
    said = phases.invalid(job.metadata, job.status, FAILURE, NOW)
    assert kstatus(said) == "Failed"
    assert by_type(said)[C.FINISHED].status is not ConditionStatus.TRUE
    assert said.attempts == job.status.attempts
