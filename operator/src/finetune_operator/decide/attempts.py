"""Attempts: when one begins, what its end is written down as, and when there have been enough."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.result import Failure
from finetune_api.status import Attempt, Cause, StageState, StageStatus, Status
from finetune_operator.decide.conditions import told
from finetune_operator.decide.failure import Ending
from finetune_operator.decide.gang import job_of, pods_of, runs
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import Observed, PodObserved

KEPT = 10
FRUITLESS = 3
"""Counted train attempts in a row without a newer committed checkpoint that end the job."""
_FIRST_DELAY, _LONGEST_DELAY = 10.0, 300.0
_TOLD_MAX_LENGTH = 192
_AT_ONCE = (Cause.SUSPENDED, Cause.MICRO_BATCH_TOO_LARGE)
"""What the next attempt does not wait after: it does not meet what ended the last."""
_OWN_LIMITS = (Cause.OUT_OF_MEMORY, Cause.EVICTED)
"""The second in a row is no accident: the next one would end in the same way."""


def stage_to_run(status: Status) -> Stage:
    prepared = any(each.stage is Stage.PREPARE and each.state is StageState.SUCCEEDED for each in status.stages)
    return Stage.TRAIN if prepared else Stage.PREPARE


def begun(job: FineTuneJob, observed: Observed, now: datetime) -> Status:
    """`job.status` with the next attempt of the stage that is due."""
    status, stage = job.status, stage_to_run(job.status)
    numbers = [attempt.number for attempt in status.attempts if attempt.stage is stage]
    numbers += [child.attempt for child in observed.jobs if child.stage is stage]
    number = max(numbers, default=0) + 1
    attempt = Attempt(
        stage=stage,
        number=number,
        job_name=job_name(job.metadata.name, job.metadata.uid, stage, number),
        start_time=now,
    )
    return status.model_copy(
        update={
            "start_time": status.start_time or now,
            "attempts": (*status.attempts, attempt)[-KEPT:],
            "stages": _with_stage(status.stages, stage, StageState.RUNNING, now),
        }
    )


def job_name(name: str, uid: str, stage: Stage, number: int) -> str:
    """Name of an attempt's Job, ConfigMap and Service, unlike those of an earlier FineTuneJob of the same name.

    At most 58 characters, so that with `-<index>` it is still a hostname.
    """
    return f"{name}-{uid[:5]}-{stage.lower()}-{number}"


def seen(status: Status, observed: Observed, now: datetime) -> Status:
    """`status` with what is new about the open attempt: that its Job exists, and that all its pods run."""
    attempt = status.open_attempt
    job = job_of(attempt, observed) if attempt else None
    if attempt is None or job is None:
        return status
    pods = pods_of(attempt, observed)
    running = runs(job, pods)
    return _replaced(
        status.model_copy(update={"stages": _with_image(status.stages, attempt.stage, pods)}),
        attempt.model_copy(
            update={
                "job_uid": job.uid,
                "running_time": attempt.running_time or (now if running else None),
            }
        ),
    )


def lost_its_job(status: Status, observed: Observed) -> bool:
    """The open attempt's Job was there and is no more: its pods may still run, so it must not be made again."""
    attempt = status.open_attempt
    return attempt is not None and attempt.job_uid is not None and job_of(attempt, observed) is None


def closed(job: FineTuneJob, ending: Ending, now: datetime) -> Status:
    """`job.status` with its open attempt, if there is one, ended."""
    status = job.status
    attempt = status.open_attempt
    if attempt is None:
        return status
    window = now - timedelta(seconds=job.spec.restart.window_seconds)
    ended = attempt.model_copy(
        update={
            "finish_time": now,
            "cause": ending.cause,
            "message": told(ending.failure.message, ending.failure.field, _TOLD_MAX_LENGTH) if ending.failure else "",
            "counted": ending.counted,
            "exit_code": ending.pod.end.exit_code if ending.pod and ending.pod.end else None,
            "node": ending.pod.node if ending.pod else None,
            "checkpoint_step": ending.checkpoint_step,
        }
    )
    recent = tuple(time for time in status.restart_times if time > window)
    state = StageState.SUCCEEDED if ending.cause is Cause.COMPLETED else StageState.RUNNING
    return _replaced(status, ended).model_copy(
        update={
            "restart_times": (*recent, now) if ending.counted else recent,
            "stages": _with_stage(status.stages, attempt.stage, state, now),
        }
    )


def enough(job: FineTuneJob, ending: Ending) -> Failure | None:
    """Why no other attempt follows the one that `ending` has just closed in `job.status`; None when one does."""
    if ending.failure is None:
        return None
    ended = [attempt for attempt in job.status.attempts if attempt.stage is job.status.attempts[-1].stage]
    last = ended[-1]
    if not ending.counted:
        return None
    if last.cause is Cause.TERMINAL:
        return ending.failure
    if last.cause is Cause.START_DEADLINE and all(attempt.running_time is None for attempt in ended):
        return ending.failure
    if last.cause in _OWN_LIMITS and len(ended) > 1 and ended[-2].cause is last.cause:
        return ending.failure
    if last.stage is Stage.TRAIN and (streak := _fruitless(ended)) >= FRUITLESS:
        return _because(
            Reason.NO_PROGRESS,
            f"{streak} attempts in a row failed without a newer checkpoint",
            ending.failure,
            "spec.checkpoint.intervalSeconds",
        )
    restart = job.spec.restart
    if (failures := len(job.status.restart_times)) > restart.max_restarts:
        times = "once" if failures == 1 else f"{failures} times"
        return _because(
            Reason.RESTARTS_SPENT,
            f"failed {times} within {restart.window_seconds} s",
            ending.failure,
            "spec.restart.maxRestarts",
        )
    return None


def starts_at(job: FineTuneJob) -> datetime | None:
    """When the next attempt may begin; None: at once.

    The first restart is immediate; then 10, 20, 40 … 300 s after the end of the last, ± a quarter, so that jobs that
    fell together do not come back together.
    """
    stage = stage_to_run(job.status)
    ended = [attempt for attempt in job.status.attempts if attempt.stage is stage and attempt.finish_time is not None]
    if not ended or ended[-1].cause in _AT_ONCE or ended[-1].finish_time is None:
        return None
    last = ended[-1].finish_time
    window = last - timedelta(seconds=job.spec.restart.window_seconds)
    recent = [each for each in ended if each.cause not in _AT_ONCE and each.finish_time and each.finish_time > window]
    if len(recent) < 2:
        return None
    delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (len(recent) - 2))
    digest = hashlib.sha256(f"{job.metadata.uid}/{stage}/{ended[-1].number}".encode()).digest()
    return last + timedelta(seconds=delay * (0.75 + 0.5 * digest[0] / 255))


def is_clear(observed: Observed) -> bool:
    """No pod may still run: a gang must never meet its predecessor."""
    return not any(pod.live for pod in observed.pods) and all(job.finished or job.failing for job in observed.jobs)


def _fruitless(ended: list[Attempt]) -> int:
    """Counted failures since the last newer checkpoint. Disruptions say nothing of the job and are passed over."""
    newest, streak = -1, 0
    for attempt in ended:
        step = attempt.checkpoint_step
        if step is not None and step > newest:
            newest, streak = step, 0
        elif attempt.counted:
            streak += 1
    return streak


def _because(reason: Reason, why: str, last: Failure, field: str) -> Failure:
    return last.model_copy(
        update={"reason": reason, "message": f"{why}; the last: {last.message}"[:1024], "field": last.field or field}
    )


def _replaced(status: Status, attempt: Attempt) -> Status:
    key = (attempt.stage, attempt.number)
    return status.model_copy(
        update={"attempts": tuple(attempt if (each.stage, each.number) == key else each for each in status.attempts)}
    )


def _with_image(
    stages: tuple[StageStatus, ...], stage: Stage, pods: tuple[PodObserved, ...]
) -> tuple[StageStatus, ...]:
    digest = next((pod.image_digest for pod in pods if pod.image_digest is not None), None)
    if digest is None:
        return stages
    return tuple(each.model_copy(update={"image_digest": digest}) if each.stage is stage else each for each in stages)


def _with_stage(
    stages: tuple[StageStatus, ...], stage: Stage, state: StageState, now: datetime
) -> tuple[StageStatus, ...]:
    known = {each.stage: each for each in stages}
    before = known.get(stage, StageStatus(stage=stage, state=state))
    finished = state in (StageState.SUCCEEDED, StageState.FAILED)
    times = {"start_time": before.start_time or now, "finish_time": now if finished else None}
    known[stage] = before.model_copy(update={"state": state, **times})
    return tuple(
        known.get(each, StageStatus(stage=each, state=StageState.PENDING)) for each in (Stage.PREPARE, Stage.TRAIN)
    )
