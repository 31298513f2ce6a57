"""What a job's situation is called: the phase for people, the eight conditions for machines, always both together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob, Metadata
from finetune_api.result import Failure
from finetune_api.status import ConditionType, Phase, StageState, Status
from finetune_operator.decide.admission import admitted, held_back, was_admitted
from finetune_operator.decide.attempts import lost_its_job, stage_to_run, starts_at
from finetune_operator.decide.conditions import FALSE, TRUE, UNKNOWN, State, condition, merge, told
from finetune_operator.decide.deadlines import silent_from
from finetune_operator.decide.gang import job_of, pods_of, runs
from finetune_operator.decide.reasons import OBSTACLES, Reason
from finetune_operator.decide.steps import field_for_more_steps
from finetune_operator.decide.waiting import waiting
from finetune_operator.observe import JobObserved, Observed

States = Mapping[ConditionType, State]
C = ConditionType


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    phase: Phase
    reason: str
    message: str
    failure: Failure | None = None

    @classmethod
    def succeeded(cls, reason: Reason, message: str) -> Self:
        return cls(Phase.SUCCEEDED, reason, message)

    @classmethod
    def failed(cls, failure: Failure) -> Self:
        return cls(Phase.FAILED, failure.reason, told(failure.message, failure.field), failure)

    @classmethod
    def cancelled(cls) -> Self:
        return cls(Phase.CANCELLED, Reason.CANCELLED, "cancelled by spec.cancel")


@dataclass(frozen=True)
class _Situation:
    """Where an unfinished job is."""

    phase: Phase
    reason: Reason
    message: str


def latched(job: FineTuneJob) -> Status:
    """The finished status as it is, seen for the newest generation, which can change nothing in it."""
    generation = job.metadata.generation
    conditions = tuple(each.model_copy(update={"observed_generation": generation}) for each in job.status.conditions)
    return job.status.model_copy(update={"observed_generation": generation, "conditions": conditions})


def finished(job: FineTuneJob, outcome: Outcome, now: datetime) -> Status:
    """`job.status`, ended. An outcome is said by Succeeded and Finished, a failure by Stalled too (kstatus: Failed)."""
    succeeded, failed = outcome.phase is Phase.SUCCEEDED, outcome.phase is Phase.FAILED
    said = State(TRUE, outcome.reason, outcome.message)
    denied = State(FALSE, outcome.reason, outcome.message)
    states = {
        C.ADMITTED: was_admitted(job),
        C.RUNNING: State(FALSE, outcome.reason),
        C.SUSPENDED: State(FALSE, Reason.NOT_SUSPENDED, "spec.suspend is false"),
        C.SUCCEEDED: said if succeeded else denied,
        C.FINISHED: said,
        C.RECONCILING: State(FALSE, outcome.reason),
        C.STALLED: said if failed else State(FALSE, outcome.reason),
    }
    prepared = stage_to_run(job.status) is Stage.TRAIN
    states[C.PREPARED] = _prepared(job) if prepared else denied
    stages = tuple(
        each.model_copy(update={"state": StageState.FAILED, "finish_time": now})
        if each.state is StageState.RUNNING
        else each
        for each in job.status.stages
    )
    ended = job.status.model_copy(update={"finish_time": now, "failure": outcome.failure, "stages": stages})
    return _said(job, ended, outcome.phase, states, now)


def described(job: FineTuneJob, observed: Observed, now: datetime) -> Status:
    """`job.status` of an unfinished job, with phase and conditions that fit it."""
    situation = _situation(job, observed, now)
    waits = State(FALSE, situation.reason, situation.message)
    prepared = stage_to_run(job.status) is Stage.TRAIN
    states = {
        C.PREPARED: _prepared(job) if prepared else waits,
        C.ADMITTED: admitted(job, observed),
        C.RUNNING: State(TRUE, situation.reason, situation.message) if situation.reason is Reason.TRAINING else waits,
        C.SUSPENDED: _suspended(job, situation),
        C.SUCCEEDED: _outlook(job, observed, situation),
        C.FINISHED: State(FALSE, Reason.IN_PROGRESS),
        C.RECONCILING: _reconciling(job.status, situation),
        C.STALLED: State(FALSE, Reason.IN_PROGRESS),
    }
    return _said(job, job.status.model_copy(update={"failure": None}), situation.phase, states, now)


def invalid(metadata: Metadata, status: Status, failure: Failure, now: datetime) -> Status:
    """For a spec that cannot be read. Not the end: with a corrected spec, or a newer operator, it goes on from here."""
    outcome = Outcome.failed(failure)
    states = {C.STALLED: State(TRUE, outcome.reason, outcome.message), C.RECONCILING: State(FALSE, outcome.reason)}
    phase = Phase.FAILED if status.start_time is None else status.phase
    return status.model_copy(
        update={
            "observed_generation": metadata.generation,
            "phase": phase,
            "failure": failure,
            "conditions": merge(status.conditions, states, generation=metadata.generation, now=now),
        }
    )


def _situation(job: FineTuneJob, observed: Observed, now: datetime) -> _Situation:
    status, attempt = job.status, job.status.open_attempt
    if job.spec.suspend:
        return _suspension(status, observed)
    if attempt is None:
        return _between_attempts(job, observed)
    child = job_of(attempt, observed)
    if child is not None and child.suspended:
        held = held_back(child, observed)
        live = sum(pod.live for pod in pods_of(attempt, observed))
        stopping = f"{live} pods are being stopped; " if live else ""
        return _Situation(Phase.QUEUED, held.reason, told(stopping + held.message, held.field))
    was_deleted = lost_its_job(status, observed) or (child is not None and child.deletion_time is not None)
    if was_deleted or (child is not None and child.failing):
        fate = "was deleted" if was_deleted else "failed"
        return _Situation(
            Phase.RESTARTING, Reason.STOPPING, f"Job {attempt.job_name} {fate}; its pods are being stopped"
        )
    if child is None or not runs(child, pods_of(attempt, observed)):
        missing = waiting(attempt, job, observed, now)
        return _Situation(_phase_of(attempt.stage, child), missing.reason, told(missing.message, missing.field))
    if attempt.stage is Stage.PREPARE:
        return _Situation(Phase.PREPARING, Reason.PREPARING, "data and model are being prepared")
    silent = silent_from(status)
    if silent is not None and now >= silent:
        return _Situation(Phase.TRAINING, Reason.TRAINING, "all pods run; rank 0 does not answer at its progress port")
    return _Situation(Phase.TRAINING, Reason.TRAINING, f"{child.completions} of {child.completions} pods run")


def _phase_of(stage: Stage, child: JobObserved | None) -> Phase:
    if stage is Stage.TRAIN:
        return Phase.STARTING
    return Phase.PENDING if child is None else Phase.PREPARING


def _suspension(status: Status, observed: Observed) -> _Situation:
    """Suspended is what a job is when nothing of it holds resources any more."""
    live = sum(pod.live for pod in observed.pods)
    if live or not all(job.finished or job.failing for job in observed.jobs):
        message = f"{live} pods are being stopped"
        return _Situation(status.phase or Phase.PENDING, Reason.STOPPING, message)
    return _Situation(Phase.SUSPENDED, Reason.SUSPENDED, "suspended by spec.suspend")


def _between_attempts(job: FineTuneJob, observed: Observed) -> _Situation:
    if not job.status.attempts:
        return _Situation(Phase.PENDING, Reason.PENDING, "pods of an earlier attempt are being stopped")
    last = job.status.attempts[-1]
    ended = f"attempt {last.number} of {last.stage.lower()} ended ({last.cause})"
    ended += f": {last.message}" if last.message else ""
    if any(pod.live for pod in observed.pods):
        return _Situation(Phase.RESTARTING, Reason.STOPPING, f"{ended}; its pods are being stopped")
    at = starts_at(job)
    when = f"; the next begins at {at:%H:%M:%S} UTC" if at else ""
    return _Situation(Phase.RESTARTING, Reason.BACK_OFF, ended + when)


def _outlook(job: FineTuneJob, observed: Observed, situation: _Situation) -> State:
    """`kubectl get` shows it: what is the matter now, before what may be later."""
    if not observed.rivals or situation.reason in OBSTACLES:
        return State(UNKNOWN, situation.reason, situation.message)
    rival = observed.rivals[0]
    # Whoever may write to one namespace need not know what runs in another.
    name = rival.name if rival.namespace == job.metadata.namespace else "of another namespace"
    message = (
        f"FineTuneJob {name} has the same output: should both train the same run, one of them ends as OutputInUse. "
        "Give one another output, or cancel it"
    )
    return State(UNKNOWN, Reason.OUTPUT_SHARED, told(message, "spec.output.uri"))


def _prepared(job: FineTuneJob) -> State:
    ready = f"data and model are ready for run {job.status.run}"
    if job.status.resolved is None or (field := field_for_more_steps(job.spec.training, job.status.resolved)) is None:
        return State(TRUE, Reason.PREPARED, ready)
    message = f"{ready}, of {job.status.resolved.total_steps} optimizer steps only: little may be learnt"
    return State(TRUE, Reason.FEW_STEPS, told(message, field))


def _suspended(job: FineTuneJob, situation: _Situation) -> State:
    if situation.phase is Phase.SUSPENDED and job.spec.suspend:
        return State(TRUE, Reason.SUSPENDED, situation.message)
    if job.spec.suspend:
        return State(FALSE, Reason.STOPPING, situation.message)
    return State(FALSE, Reason.NOT_SUSPENDED, "spec.suspend is false")


def _reconciling(before: Status, situation: _Situation) -> State:
    """kstatus takes a job for delivered (Current) once it has run, or is suspended, so that no sync waits for days."""
    said = condition(before, ConditionType.RECONCILING)
    has_run = said is not None and said.status is FALSE and said.reason == Reason.STARTED
    if has_run or situation.reason is Reason.TRAINING:
        return State(FALSE, Reason.STARTED)
    if situation.phase is Phase.SUSPENDED:
        return State(FALSE, Reason.SUSPENDED)
    return State(TRUE, situation.reason, situation.message)


def _said(job: FineTuneJob, status: Status, phase: Phase, states: States, now: datetime) -> Status:
    generation = job.metadata.generation
    return status.model_copy(
        update={
            "observed_generation": generation,
            "phase": phase,
            "conditions": merge(status.conditions, states, generation=generation, now=now),
        }
    )
