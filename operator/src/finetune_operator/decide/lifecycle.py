"""The lifecycle of a FineTuneJob, from top to bottom: prepare, train, done; and everything that cuts it short."""

from __future__ import annotations

from datetime import datetime

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_api.progress import Activity, Progress
from finetune_api.result import Failure, Prepared, Published, Result
from finetune_api.spec import IfExists
from finetune_api.status import Artifacts, Cause, CheckpointStatus, Status
from finetune_operator.decide import attempts, deadlines, phases
from finetune_operator.decide.conditions import is_finished
from finetune_operator.decide.failure import Ending, checkpoint_step, ending
from finetune_operator.decide.gang import pods_of
from finetune_operator.decide.phases import Outcome
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import Heard, Observed


def next_status(job: FineTuneJob, observed: Observed, now: datetime) -> Status:
    """What the status should say now. Terminal states are latched: never derived from children, never left."""
    if is_finished(job.status):
        return phases.latched(job)
    job = with_status(job, _saved(_heard(attempts.seen(job.status, observed, now), observed.heard), observed))

    if end := _end_of_attempt(job, observed, now):
        job = with_status(job, _with_words(attempts.closed(job, end, now), end.result, end.checkpoint_step))
        if outcome := _outcome(job, end):
            return finished(job, outcome, now)
    if job.spec.cancel:
        return finished(job, Outcome.cancelled(), now)
    if failure := deadlines.expired(job, observed, now):
        return finished(job, Outcome.failed(failure), now)
    if job.spec.suspend:
        # While it is suspended, workers and memory may be changed.
        closed = attempts.closed(job, Ending(cause=Cause.SUSPENDED), now)
        job = with_status(job, closed.model_copy(update={"micro_batch": None}))
    elif _may_begin(job, observed, now):
        job = with_status(job, attempts.begun(job, observed, now))
    return phases.described(job, observed, now)


def finished(job: FineTuneJob, outcome: Outcome, now: datetime) -> Status:
    """The job's last status; an attempt that is still open ends with it."""
    job = with_status(job, attempts.closed(job, Ending(cause=Cause.CANCELLED), now))
    return phases.finished(job, outcome, now)


def with_status(job: FineTuneJob, status: Status) -> FineTuneJob:
    return job.model_copy(update={"status": status})


def _end_of_attempt(job: FineTuneJob, observed: Observed, now: datetime) -> Ending | None:
    attempt = job.status.open_attempt
    if attempt is None:
        return None
    return ending(attempt, observed, now) or deadlines.start_expired(job, observed, now)


def _outcome(job: FineTuneJob, end: Ending) -> Outcome | None:
    """How the job ends with the attempt that has just ended; None when another one follows."""
    if failure := attempts.enough(job, end):
        return Outcome.failed(failure)
    if end.result is None:
        return None
    if end.result.published is not None:
        return Outcome.succeeded(Reason.COMPLETED, f"published at {end.result.published.model_uri}")
    prepared = end.result.prepared
    if prepared is None or prepared.published is None:
        return None
    if job.spec.output.if_exists is IfExists.REUSE:
        return Outcome.succeeded(
            Reason.REUSED, f"run {prepared.run} was already published at {prepared.published.model_uri}"
        )
    return Outcome.failed(
        Failure(
            reason=Reason.OUTPUT_EXISTS,
            message=f"run {prepared.run} is already published at {prepared.published.manifest_uri}",
            field="spec.output.ifExists",
        )
    )


def _may_begin(job: FineTuneJob, observed: Observed, now: datetime) -> bool:
    if job.status.open_attempt is not None or not attempts.is_clear(observed):
        return False
    at = attempts.starts_at(job)
    return at is None or now >= at


def _heard(status: Status, heard: Heard | None) -> Status:
    if heard is None or (status.progress_time is not None and heard.time <= status.progress_time):
        return status
    step = heard.progress.checkpoint_step
    return status.model_copy(
        update={
            "progress": heard.progress,
            "progress_time": heard.time,
            "checkpoint": CheckpointStatus(step=step) if step is not None else status.checkpoint,
        }
    )


def _saved(status: Status, observed: Observed) -> Status:
    """With the last checkpoint of pods that were stopped: by a queue, or by us, who wait for them after the attempt."""
    step = checkpoint_step(pods_of(status.attempts[-1], observed)) if status.attempts else None
    if step is None or (status.checkpoint is not None and status.checkpoint.step >= step):
        return status
    return status.model_copy(update={"checkpoint": CheckpointStatus(step=step)})


def _with_words(status: Status, result: Result | None, step: int | None) -> Status:
    """`status` with what the attempt left behind: its Result, and the step of its last checkpoint."""
    if step is not None:
        status = status.model_copy(update={"checkpoint": CheckpointStatus(step=step)})
    if result is None:
        return status
    if result.micro_batch is not None:
        return status.model_copy(update={"micro_batch": result.micro_batch})
    if result.stage is Stage.PREPARE and result.prepared is not None:
        status = _with_prepared(status, result.prepared)
        return _with_published(status, result.prepared.published)
    return _with_last_step(_with_published(status, result.published), result)


def _with_prepared(status: Status, prepared: Prepared) -> Status:
    return status.model_copy(
        update={
            "run": prepared.run,
            "data_uri": prepared.data_uri,
            "data_digest": prepared.data_digest,
            "model_digest": prepared.model_digest,
            "data": prepared.data,
            "resolved": prepared.resolved,
        }
    )


def _with_last_step(status: Status, result: Result) -> Status:
    """Rank 0 was last asked some steps before the end; what it published is the end."""
    published = result.published
    if published is None:
        return status
    return status.model_copy(
        update={
            "progress": Progress(
                stage=result.stage,
                attempt=result.attempt,
                activity=Activity.PUBLISHING,
                step=published.step,
                total_steps=published.step,
                loss=published.metrics.train_loss,
                validation_loss=published.metrics.validation_loss,
                checkpoint_step=published.step,
            )
        }
    )


def _with_published(status: Status, published: Published | None) -> Status:
    if published is None:
        return status
    return status.model_copy(
        update={
            "metrics": published.metrics,
            "checkpoint": CheckpointStatus(step=published.step),
            "artifacts": Artifacts(
                model_uri=published.model_uri,
                report_uri=published.report_uri,
                manifest_uri=published.manifest_uri,
                manifest_sha256=published.manifest_sha256,
            ),
        }
    )
