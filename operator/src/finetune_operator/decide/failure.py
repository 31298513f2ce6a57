"""Why an attempt ended, decided over all its pods: a gang fails as one, and most ranks only fall with another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from finetune_api.contract import REASON_LOST_PEER, REASON_MICRO_BATCH_TOO_LARGE, TERMINAL_EXIT_CODES, ExitCode, Stage
from finetune_api.result import Failure, Result
from finetune_api.status import Attempt, Cause
from finetune_operator.decide.gang import job_of, pods_of
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import JobObserved, Observed, PodObserved

FORCE_AFTER = timedelta(seconds=30)
"""Past the end of its grace period a pod is on a node that does not answer."""
UNCOUNTED = frozenset(
    {
        Cause.COMPLETED,
        Cause.SUSPENDED,
        Cause.CANCELLED,
        Cause.DISRUPTED,
        Cause.MICRO_BATCH_TOO_LARGE,
        Cause.NODE_LOST,
    }
)
"""Nobody's fault: these do not count towards `restart.maxRestarts`."""

_FIELDS = {
    ExitCode.BAD_CONFIG: "spec",
    ExitCode.MISMATCH: "spec.data",
    ExitCode.BAD_ROWS: "spec.data.sources",
    ExitCode.CHECKPOINTS_CORRUPT: "spec.output.uri",
    ExitCode.GPU_OUT_OF_MEMORY: "spec.memory.microBatchSize",
    ExitCode.DIVERGED: "spec.training.learningRate",
    ExitCode.ACCESS_DENIED: "spec.storage",
    ExitCode.UNSUPPORTED_HARDWARE: "spec.training.precision",
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended."""

    cause: Cause
    failure: Failure | None = None
    """What a person should know; None when nothing is wrong."""
    pod: PodObserved | None = None
    """The one that decided the cause."""
    result: Result | None = None
    """Of a stage that is done: holds `prepared` or `published`; of a gang without memory, what did not fit."""
    checkpoint_step: int | None = None
    """The newest committed checkpoint that any pod reported."""

    @property
    def counted(self) -> bool:
        return self.cause not in UNCOUNTED


def is_stuck(pod: PodObserved, now: datetime) -> bool:
    """Deleted, and not stopped long after it should have been."""
    return pod.live and pod.deletion_time is not None and now >= pod.deletion_time + FORCE_AFTER


def ending(attempt: Attempt, observed: Observed, now: datetime) -> Ending | None:
    """None while the attempt goes on, or while pods that may still have something to say are being stopped."""
    job = job_of(attempt, observed)
    if job is None and attempt.job_uid is None:
        return None
    pods = pods_of(attempt, observed)
    is_over = job is None or job.deletion_time or job.failing or job.complete or any(is_stuck(pod, now) for pod in pods)
    if job is not None and job.suspended and not job.complete:
        # A queue starts the same Job again, but not the ranks of it that had finished.
        if not is_over and not job.succeeded:
            return None
        return Ending(cause=Cause.SUSPENDED, checkpoint_step=checkpoint_step(pods))
    if not is_over or any(pod.live and not is_stuck(pod, now) for pod in pods):
        return None
    decided = _classified(attempt, job, pods)
    return Ending(
        cause=decided.cause,
        failure=decided.failure,
        pod=decided.pod,
        result=decided.result,
        checkpoint_step=checkpoint_step(pods),
    )


def checkpoint_step(pods: tuple[PodObserved, ...]) -> int | None:
    """The newest committed checkpoint that any of them reported."""
    steps = [pod.end.result.checkpoint_step for pod in pods if pod.end and pod.end.result]
    return max((step for step in steps if step is not None), default=None)


def _classified(attempt: Attempt, job: JobObserved | None, pods: tuple[PodObserved, ...]) -> Ending:
    """In the order of `Cause`."""
    done = next((pod for pod in pods if pod.end and pod.end.exit_code == 0 and _is_done(pod.end.result)), None)
    if done is not None and done.end is not None:
        return Ending(cause=Cause.COMPLETED, pod=done, result=done.end.result)
    if disrupted := next((pod for pod in pods if pod.disruption), None):
        why = f"{_place(disrupted)} was disrupted ({disrupted.disruption})"
        return Ending(cause=Cause.DISRUPTED, pod=disrupted, failure=_failure(Reason.DISRUPTED, why))
    if evicted := next((pod for pod in pods if pod.evicted is not None), None):
        return Ending(cause=Cause.EVICTED, pod=evicted, failure=_eviction(evicted))
    ended = sorted((pod for pod in pods if pod.end and pod.end.exit_code != 0), key=_order)
    if killed := next((pod for pod in ended if pod.end and pod.end.out_of_memory), None):
        return Ending(cause=Cause.OUT_OF_MEMORY, pod=killed, failure=_out_of_memory(killed))
    if terminal := next((pod for pod in ended if _code(pod) in TERMINAL_EXIT_CODES), None):
        return Ending(cause=Cause.TERMINAL, pod=terminal, failure=_words(terminal))
    if too_large := next((pod for pod in ended if _too_large(pod)), None):
        result = too_large.end.result if too_large.end else None
        return Ending(cause=Cause.MICRO_BATCH_TOO_LARGE, pod=too_large, failure=_words(too_large), result=result)
    if crashed := next((pod for pod in ended if not _lost_peer(pod) and _code(pod) != ExitCode.STOPPED), None):
        return Ending(cause=Cause.CRASHED, pod=crashed, failure=_words(crashed))
    if job is None or job.deletion_time is not None:
        return Ending(
            cause=Cause.DELETED, failure=_failure(Reason.DELETED, f"Job {attempt.job_name} was deleted by somebody")
        )
    if job.complete:
        why = f"Job {job.name} is complete, but what its pods said could not be read"
        return Ending(cause=Cause.CRASHED, failure=_failure(Reason.RESULT_UNREADABLE, why))
    if lost := next((pod for pod in pods if pod.running), None):
        return Ending(
            cause=Cause.NODE_LOST,
            pod=lost,
            failure=_failure(Reason.NODE_LOST, f"{_place(lost)} was lost with its node"),
        )
    if stopped := next((pod for pod in ended if _code(pod) == ExitCode.STOPPED), None):
        return Ending(cause=Cause.CRASHED, pod=stopped, failure=_words(stopped))
    if ended:
        return Ending(cause=Cause.LOST_PEER, pod=ended[0], failure=_words(ended[0]))
    return Ending(cause=Cause.CRASHED, failure=_failure(Reason.CRASHED, f"Job {job.name} failed: {job.message}"))


def _is_done(result: Result | None) -> bool:
    if result is None:
        return False
    return (result.prepared if result.stage is Stage.PREPARE else result.published) is not None


def _order(pod: PodObserved) -> tuple[bool, float, int]:
    """The first to end is the likeliest culprit."""
    time = pod.end.finish_time if pod.end else None
    return (time is None, time.timestamp() if time else 0.0, pod.index)


def _code(pod: PodObserved) -> int | None:
    return pod.end.exit_code if pod.end else None


def _lost_peer(pod: PodObserved) -> bool:
    return _code(pod) == ExitCode.RETRY and _reason(pod) == REASON_LOST_PEER


def _too_large(pod: PodObserved) -> bool:
    tells_what_fits = pod.end is not None and pod.end.result is not None and pod.end.result.micro_batch is not None
    return _code(pod) == ExitCode.RETRY and _reason(pod) == REASON_MICRO_BATCH_TOO_LARGE and tells_what_fits


def _reason(pod: PodObserved) -> str | None:
    words = pod.end.result.failure if pod.end and pod.end.result else None
    return words.reason if words is not None else None


def _place(pod: PodObserved) -> str:
    return f"Pod {pod.name} on node {pod.node}" if pod.node else f"Pod {pod.name}"


def _failure(reason: Reason, message: str, field: str | None = None) -> Failure:
    return Failure(reason=reason, message=message[:1024], field=field)


def _words(pod: PodObserved) -> Failure:
    """The pod's own, else what its exit code means."""
    code = _code(pod)
    if pod.end is not None and pod.end.result is not None and pod.end.result.failure is not None:
        return pod.end.result.failure
    known = ExitCode(code) if code in TERMINAL_EXIT_CODES else None
    meaning = f"{code}, {known.name.replace('_', ' ').lower()}" if known else f"{code}"
    message = f"{_place(pod)} ended with exit code {meaning}, and left no other words; see its log"
    return Failure(
        reason="".join(word.capitalize() for word in known.name.split("_")) if known else Reason.CRASHED,
        message=message,
        field=_FIELDS[known] if known else None,
    )


def _out_of_memory(pod: PodObserved) -> Failure:
    if pod.stage is Stage.TRAIN:
        return _failure(
            Reason.OUT_OF_MEMORY,
            f"{_place(pod)} was killed for using more memory than spec.workers.resources.memory allows",
            "spec.workers.resources.memory",
        )
    message = f"{_place(pod)} was killed for using more memory than the operator's settings give to preparation"
    return _failure(Reason.OUT_OF_MEMORY, message)


def _eviction(pod: PodObserved) -> Failure:
    is_scratch = pod.stage is Stage.TRAIN and not re.search(r'volume "(shm|tmp)"', pod.evicted or "")
    field = "spec.workers.resources.scratch" if is_scratch else None
    return _failure(Reason.EVICTED, f"{_place(pod)} was evicted: {pod.evicted}", field)
