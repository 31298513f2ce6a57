"""Which children go: those of attempts that are over, and never the last logs of a stage."""

from __future__ import annotations

import pytest

from finetune_api.contract import Stage
from finetune_api.status import Attempt, Cause
from finetune_operator.apply import Kind, Ref
from finetune_operator.decide.cleanup import stuck, surplus
from finetune_operator.observe import ChildObserved, JobObserved, Observed
from observed import (
    NOW,
    PREPARE_1,
    TRAIN_1,
    a_fine_tune_job,
    a_job,
    a_pod,
    ago,
    an_attempt,
    an_ended_attempt,
    prepared_status,
)

OTHERS = (Kind.CONFIG_MAP, Kind.SERVICE, Kind.NETWORK_POLICY)
PREPARE = a_job(name=PREPARE_1, uid="p", stage=Stage.PREPARE, complete=True, finished=True)
CHILDREN = tuple(
    ChildObserved(ref=Ref(kind, "ml", name), uid=f"{kind.plural}-{name}", deletion_time=None)
    for name in (PREPARE_1, TRAIN_1)
    for kind in OTHERS
)
FAILED = a_job(failing=True, finished=True)
CASES: dict[str, tuple[tuple[Attempt, ...], JobObserved, bool]] = {
    "an open attempt keeps its job": ((an_attempt(),), a_job(), True),
    "a failed job keeps its logs": ((an_ended_attempt(1, cause=Cause.CRASHED),), FAILED, True),
    "until the next attempt": ((an_ended_attempt(1, cause=Cause.CRASHED), an_attempt(2)), FAILED, False),
    "a suspended attempt leaves nothing": ((an_ended_attempt(1, cause=Cause.SUSPENDED),), a_job(), False),
    "a cancelled one neither": ((an_ended_attempt(1, cause=Cause.CANCELLED),), a_job(), False),
    "a job of no known attempt that runs goes": ((), a_job(), False),
}


@pytest.mark.parametrize(("attempts", "job", "kept"), CASES.values(), ids=CASES)
def test_what_goes(attempts: tuple[Attempt, ...], job: JobObserved, kept: bool) -> None:
    doomed = surplus(a_fine_tune_job(prepared_status(*attempts)), Observed(jobs=(PREPARE, job), others=CHILDREN))
    gone = [] if kept else [(kind, TRAIN_1) for kind in (Kind.JOB, *OTHERS)]
    assert [(each.kind, each.name) for each in doomed] == gone


def test_what_goes_is_named_by_its_uid() -> None:
    doomed = surplus(a_fine_tune_job(prepared_status()), Observed(jobs=(a_job(uid="this-one"),)))
    assert [each.uid for each in doomed] == ["this-one"]


def test_what_is_going_is_not_deleted_twice() -> None:
    assert surplus(a_fine_tune_job(prepared_status()), Observed(jobs=(a_job(deletion_time=NOW),))) == []


@pytest.mark.parametrize(("cause", "kept"), [(Cause.COMPLETED, False), (Cause.CRASHED, True)])
def test_a_stage_that_succeeded_gives_its_scratch_volumes_back(cause: Cause, kept: bool) -> None:
    status = prepared_status(an_ended_attempt(1, cause=cause))
    job = a_fine_tune_job(status, workers={"resources": {"scratchStorageClass": "fast"}})
    doomed = surplus(job, Observed(jobs=(a_job(finished=True),)))
    assert [each.name for each in doomed] == ([] if kept else [TRAIN_1])


def test_only_pods_long_past_their_grace_are_stuck() -> None:
    late, early = a_pod(0, deletion_time=ago(30)), a_pod(1, deletion_time=ago(29))
    stopped = a_pod(2, deletion_time=ago(500), stopped=True)
    remembered = a_pod(3, deletion_time=ago(500), gone=True)
    assert stuck(Observed(pods=(late, early, stopped, remembered)), NOW) == [late]
