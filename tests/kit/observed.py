"""Builders of what was observed: a running train attempt, with overrides that name only what a test is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from finetune_api.contract import REASON_MICRO_BATCH_TOO_LARGE, ExitCode, Stage
from finetune_api.job import FineTuneJob
from finetune_api.result import Failure, MicroBatch, Result
from finetune_api.status import Attempt, StageState, StageStatus, Status
from finetune_operator.observe import End, JobObserved, Observed, PodObserved
from jobs import make_job
from results import PREPARED

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TRAIN_1 = "triage-5f0c1-train-1"
PREPARE_1 = "triage-5f0c1-prepare-1"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def a_job(**overrides: Any) -> JobObserved:
    """Of two pods, unsuspended and unfinished."""
    job = JobObserved(
        name=TRAIN_1,
        uid="job-1",
        stage=Stage.TRAIN,
        attempt=1,
        start_time=ago(590),
        suspended=False,
        queue=None,
        completions=2,
        succeeded=0,
        complete=False,
        failing=False,
        finished=False,
        message="",
        deletion_time=None,
    )
    return replace(job, **overrides)


def a_pod(index: int = 0, **overrides: Any) -> PodObserved:
    """Running."""
    pod = PodObserved(
        name=f"{TRAIN_1}-{index}",
        uid=f"pod-{index}",
        job_uid="job-1",
        stage=Stage.TRAIN,
        attempt=1,
        index=index,
        stopped=False,
        running=True,
        node=f"node-{index}",
        image_digest=None,
        creation_time=ago(600),
        waiting_reason=None,
        waiting_message="",
        unschedulable=None,
        end=None,
        disruption=None,
        evicted=None,
        deletion_time=None,
        gone=False,
    )
    return replace(pod, **overrides)


def ended(index: int, code: int, *, reason: str | None = None, at: float = 10, **overrides: Any) -> PodObserved:
    """A pod that exited `at` seconds ago; with `reason`, its Result holds that failure."""
    words = Failure(reason=reason, message=f"said {reason}", field="spec.x") if reason else None
    result = Result(stage=Stage.TRAIN, attempt=1, failure=words) if words else None
    out_of_memory = bool(overrides.pop("out_of_memory", False))
    end = End(exit_code=code, out_of_memory=out_of_memory, result=result, finish_time=ago(at))
    return a_pod(index, **{"stopped": True, "running": False, "end": end, **overrides})


def words(index: int, code: int, result: Result, **overrides: Any) -> PodObserved:
    """A pod that exited with these last words."""
    end = End(exit_code=code, out_of_memory=False, result=result, finish_time=ago(10))
    return a_pod(index, **{"stopped": True, "running": False, "end": end, **overrides})


def too_large(index: int, tried: int, **overrides: Any) -> PodObserved:
    """A pod one of whose GPUs ran out of memory with this micro batch."""
    failure = Failure(reason=REASON_MICRO_BATCH_TOO_LARGE, message=f"{tried} rows do not fit", field="spec.memory")
    fits = MicroBatch(tried=tried, fits=tried // 2, halvings=1)
    said = Result(stage=Stage.TRAIN, attempt=1, failure=failure, micro_batch=fits, checkpoint_step=40)
    return words(index, ExitCode.RETRY, said, **overrides)


def waiting(index: int = 0, **overrides: Any) -> PodObserved:
    """A pod that does not run yet."""
    return a_pod(index, **{"running": False, **overrides})


def failed(*pods: PodObserved, **overrides: Any) -> Observed:
    """The Job has failed and these are its pods."""
    job = a_job(**{"failing": True, "finished": True, "message": "BackoffLimitExceeded", **overrides})
    return Observed(jobs=(job,), pods=pods)


def an_attempt(number: int = 1, **overrides: Any) -> Attempt:
    """Open and running since 500 s."""
    attempt = Attempt(
        stage=Stage.TRAIN,
        number=number,
        job_name=f"triage-5f0c1-train-{number}",
        job_uid=f"job-{number}",
        start_time=ago(600),
        running_time=ago(500),
    )
    return attempt.model_copy(update=overrides)


def an_ended_attempt(number: int, **overrides: Any) -> Attempt:
    return an_attempt(number, **{"finish_time": ago(1000 - 100 * number), "counted": True, **overrides})


def prepared_status(*attempts: Attempt, **overrides: Any) -> Status:
    """Preparation is done; `attempts` are of the train stage."""
    status = Status(
        observed_generation=1,
        start_time=ago(3600),
        run=PREPARED.run,
        data_uri=PREPARED.data_uri,
        data_digest=PREPARED.data_digest,
        model_digest=PREPARED.model_digest,
        data=PREPARED.data,
        resolved=PREPARED.resolved,
        stages=(
            StageStatus(stage=Stage.PREPARE, state=StageState.SUCCEEDED, start_time=ago(3600), finish_time=ago(700)),
            StageStatus(stage=Stage.TRAIN, state=StageState.RUNNING, start_time=ago(600)),
        ),
        attempts=attempts,
    )
    return status.model_copy(update=overrides)


def a_fine_tune_job(status: Status | None = None, **spec: Any) -> FineTuneJob:
    """Of two nodes, whose first train attempt is open."""
    return make_job(
        status=prepared_status(an_attempt()) if status is None else status, **{"workers": {"nodes": 2}, **spec}
    )
