"""What the whole status comes to: its size at worst, and what it takes over from the pods' words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from finetune_api.contract import Stage
from finetune_api.progress import Activity, Progress
from finetune_api.result import Failure, MicroBatch, Result
from finetune_api.status import Artifacts, Cause, CheckpointStatus, Phase, StageState, StageStatus, Status
from finetune_operator.decide.lifecycle import next_status
from finetune_operator.observe import Heard, Observed, PodObserved
from observed import (
    NOW,
    PREPARE_1,
    a_fine_tune_job,
    a_job,
    a_pod,
    ago,
    an_attempt,
    an_ended_attempt,
    ended,
    failed,
    prepared_status,
    too_large,
    words,
)
from results import PREPARED, PUBLISHED


def test_what_prepare_said_is_kept_and_training_begins_in_the_same_step() -> None:
    attempt = an_attempt(stage=Stage.PREPARE, job_name=PREPARE_1)
    job = a_fine_tune_job(Status(start_time=ago(600), attempts=(attempt,)))
    said = Result(stage=Stage.PREPARE, attempt=1, prepared=PREPARED)
    complete = a_job(name=PREPARE_1, stage=Stage.PREPARE, completions=1, complete=True, finished=True)
    status = next_status(job, Observed(jobs=(complete,), pods=(words(0, 0, said, stage=Stage.PREPARE),)), NOW)
    assert (status.run, status.data_uri, status.data_digest) == (PREPARED.run, PREPARED.data_uri, PREPARED.data_digest)
    assert (status.model_digest, status.data, status.resolved) == (
        PREPARED.model_digest,
        PREPARED.data,
        PREPARED.resolved,
    )
    assert [(each.job_name, each.cause) for each in status.attempts] == [
        (PREPARE_1, Cause.COMPLETED),
        ("triage-5f0c1-train-1", None),
    ]
    assert status.phase is Phase.STARTING


def test_the_attempt_after_one_without_memory_starts_at_once_with_half() -> None:
    job = a_fine_tune_job(prepared_status(an_ended_attempt(1, counted=True), an_attempt(2)))
    pods = tuple(too_large(index, 8, attempt=2, job_uid="job-2") for index in range(2))
    gone = failed(*pods, name="triage-5f0c1-train-2", uid="job-2", attempt=2)
    status = next_status(job, gone, NOW)
    assert [(each.number, each.cause, each.counted) for each in status.attempts[1:]] == [
        (2, Cause.MICRO_BATCH_TOO_LARGE, False),
        (3, None, False),
    ]
    assert (status.micro_batch, status.restart_times) == (MicroBatch(tried=8, fits=4, halvings=1), ())
    assert status.checkpoint == CheckpointStatus(step=40)


def test_what_did_not_fit_is_forgotten_when_a_suspended_job_may_change() -> None:
    found = MicroBatch(tried=8, fits=4, halvings=1)
    status = prepared_status(an_ended_attempt(1, cause=Cause.MICRO_BATCH_TOO_LARGE), micro_batch=found)
    assert next_status(a_fine_tune_job(status), Observed(), NOW).micro_batch == found
    assert next_status(a_fine_tune_job(status, suspend=True), Observed(), NOW).micro_batch is None


def test_what_was_published_is_kept() -> None:
    said = Result(stage=Stage.TRAIN, attempt=1, published=PUBLISHED, checkpoint_step=300)
    complete = a_job(complete=True, finished=True, succeeded=2)
    status = next_status(a_fine_tune_job(), Observed(jobs=(complete,), pods=(words(0, 0, said), ended(1, 0))), NOW)
    assert status.phase is Phase.SUCCEEDED
    assert status.metrics == PUBLISHED.metrics
    assert status.checkpoint == CheckpointStatus(step=300)
    assert status.artifacts == Artifacts(
        model_uri=PUBLISHED.model_uri,
        report_uri=PUBLISHED.report_uri,
        manifest_uri=PUBLISHED.manifest_uri,
        manifest_sha256=PUBLISHED.manifest_sha256,
    )
    assert status.progress == Progress(
        stage=Stage.TRAIN,
        attempt=1,
        activity=Activity.PUBLISHING,
        step=300,
        total_steps=300,
        loss=2.9,
        validation_loss=3.1,
        checkpoint_step=300,
    )


def test_an_end_seen_together_with_a_cancellation_is_the_end() -> None:
    said = Result(stage=Stage.TRAIN, attempt=1, published=PUBLISHED)
    complete = a_job(complete=True, finished=True)
    status = next_status(a_fine_tune_job(cancel=True), Observed(jobs=(complete,), pods=(words(0, 0, said),)), NOW)
    assert status.phase is Phase.SUCCEEDED


def test_the_checkpoint_of_a_preempted_gang_is_told_and_stays_until_a_newer_one_is_heard_of() -> None:
    def progress(step: int) -> Progress:
        return Progress(stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, checkpoint_step=step)

    def after(before: Status, *pods: PodObserved, suspended: bool, heard: Heard) -> Status:
        job = a_job(suspended=suspended, queue="gpus")
        return next_status(a_fine_tune_job(before), Observed(jobs=(job,), pods=pods, heard=heard), NOW)

    last_heard = Heard(progress=progress(40), time=ago(20))
    running = after(prepared_status(an_attempt()), a_pod(0), a_pod(1), suspended=False, heard=last_heard)
    assert running.checkpoint == CheckpointStatus(step=40)
    saved = Result(stage=Stage.TRAIN, attempt=1, checkpoint_step=43)
    stopped = (words(0, 143, saved, gone=True), words(1, 143, saved, gone=True))
    queued = after(running, *stopped, suspended=True, heard=last_heard)
    assert (queued.phase, queued.checkpoint) == (Phase.QUEUED, CheckpointStatus(step=43))
    assert queued.open_attempt is not None
    new = tuple(a_pod(index, uid=f"again-{index}", creation_time=ago(5)) for index in range(2))
    resumed = after(queued, *stopped, *new, suspended=False, heard=last_heard)
    assert (resumed.phase, resumed.checkpoint) == (Phase.TRAINING, CheckpointStatus(step=43))
    further = after(resumed, *new, suspended=False, heard=Heard(progress=progress(50), time=NOW))
    assert further.checkpoint == CheckpointStatus(step=50)


def test_the_checkpoint_of_a_suspended_gang_is_told_when_its_pods_have_had_their_say() -> None:
    before = prepared_status(an_attempt(), checkpoint=CheckpointStatus(step=40))
    job = a_fine_tune_job(before, suspend=True)
    stopping = next_status(job, Observed(jobs=(a_job(),), pods=(a_pod(0), a_pod(1))), NOW)
    assert (stopping.open_attempt, stopping.checkpoint) == (None, CheckpointStatus(step=40))
    saved = Result(stage=Stage.TRAIN, attempt=1, checkpoint_step=43)
    gone = (words(0, 143, saved, gone=True), words(1, 143, saved, gone=True))
    suspended = next_status(a_fine_tune_job(stopping, suspend=True), Observed(pods=gone), NOW)
    assert (suspended.phase, suspended.checkpoint) == (Phase.SUSPENDED, CheckpointStatus(step=43))


def test_what_was_saved_after_the_job_was_suspended_is_told() -> None:
    stopped = an_ended_attempt(1, cause=Cause.SUSPENDED, counted=False, job_uid="job-1")
    saved = Result(stage=Stage.TRAIN, attempt=1, checkpoint_step=43)
    job = a_fine_tune_job(prepared_status(stopped, checkpoint=CheckpointStatus(step=40)), suspend=True)
    status = next_status(job, Observed(pods=(words(0, 143, saved, gone=True),)), NOW)
    assert (status.phase, status.checkpoint) == (Phase.SUSPENDED, CheckpointStatus(step=43))


@pytest.mark.parametrize("absurd", [{"step": 0}, {"checkpoint_step": 10**9, "loss": 1e30}, {"total_steps": 0}])
def test_progress_decides_nothing(absurd: dict[str, Any]) -> None:
    for observed in (Observed(jobs=(a_job(),), pods=(a_pod(0), a_pod(1))), failed(ended(0, 1), ended(1, 143))):
        progress = Progress(stage=Stage.TRAIN, attempt=1, activity=Activity.TRAINING, **absurd)
        heard = Observed(jobs=observed.jobs, pods=observed.pods, heard=Heard(progress=progress, time=NOW))
        without, within = (next_status(a_fine_tune_job(), each, NOW) for each in (observed, heard))
        silent = {"progress": None, "progress_time": None, "checkpoint": None}
        assert within.model_copy(update=silent) == without.model_copy(update=silent)
        assert within.progress == progress


def test_the_status_fits_16_kib_at_its_worst() -> None:
    long = Failure(reason="R" * 64, message="m" * 1024, field="f" * 256, places=tuple("p" * 180 for _ in range(10)))
    said_by_pod = Result(stage=Stage.TRAIN, attempt=109, failure=long)
    assert Result.parse(json.loads(said_by_pod.encode())).failure == long
    uri = "s3://" + "u" * 300
    status = prepared_status(
        *(
            an_ended_attempt(
                number,
                cause=Cause.CRASHED,
                message="m" * 192,
                node="n" * 63,
                exit_code=1,
                checkpoint_step=10**6,
            )
            for number in range(100, 109)
        ),
        an_attempt(109, job_name="n" * 58, job_uid="u" * 36),
        stages=tuple(StageStatus(stage=stage, state=StageState.RUNNING, image_digest="d" * 160) for stage in Stage),
        restart_times=tuple(ago(100 - number) for number in range(100)),
        data_uri=uri,
        artifacts=Artifacts(model_uri=uri, report_uri=uri, manifest_uri=uri, manifest_sha256="a" * 64),
        metrics=PUBLISHED.metrics,
        progress=Progress(stage=Stage.TRAIN, attempt=9, activity=Activity.TRAINING, step=1, total_steps=2, loss=1.5),
        progress_time=NOW,
    )
    pods = (words(0, 66, said_by_pod, attempt=109),)
    job = a_job(name="n" * 58, attempt=109, failing=True, finished=True)
    said = next_status(a_fine_tune_job(status), Observed(jobs=(job,), pods=pods), NOW)
    assert said.failure == long
    assert len(json.dumps(said.to_json(), separators=(",", ":")).encode()) < 16 * 1024
