"""What the operator answers: a status of at most 16 KiB. Reasons and places only, never data or log text."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from finetune_api.contract import Stage
from finetune_api.model import Model, merged_by
from finetune_api.progress import Progress
from finetune_api.result import DataSummary, Failure, Metrics, MicroBatch, Resolved


class Phase(StrEnum):
    """For people; no decision reads it."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    QUEUED = "Queued"
    STARTING = "Starting"
    TRAINING = "Training"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class ConditionType(StrEnum):
    PREPARED = "Prepared"
    ADMITTED = "Admitted"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    """Summary: Unknown while active, then True or False."""
    FINISHED = "Finished"
    """True on success, failure and cancel."""
    RECONCILING = "Reconciling"
    """kstatus: the first Running has not been reached yet."""
    STALLED = "Stalled"
    """kstatus: failed for good."""


class ConditionStatus(StrEnum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """As metav1.Condition."""

    type: ConditionType
    """Name of the condition."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=64)]
    """CamelCase, for machines."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """A sentence, for people."""
    last_transition_time: datetime
    """When `status` last changed."""
    observed_generation: int
    """metadata.generation that this was derived from."""


class Cause(StrEnum):
    """Why an attempt ended, in the order in which they are told apart."""

    COMPLETED = "Completed"
    SUSPENDED = "Suspended"
    """Our own intent, or the queue's."""
    CANCELLED = "Cancelled"
    DISRUPTED = "Disrupted"
    """Eviction, preemption, drain, node shutdown."""
    EVICTED = "Evicted"
    """By the kubelet, for a limit of the pod's own."""
    OUT_OF_MEMORY = "OutOfMemory"
    TERMINAL = "Terminal"
    """An exit code that says: the same input fails again."""
    MICRO_BATCH_TOO_LARGE = "MicroBatchTooLarge"
    """The GPUs ran out of memory: the next attempt starts at once with half."""
    CRASHED = "Crashed"
    LOST_PEER = "LostPeer"
    """Ended only because another rank did."""
    NODE_LOST = "NodeLost"
    START_DEADLINE = "StartDeadline"
    DELETED = "Deleted"
    """Somebody deleted the Job."""


class Attempt(Model):
    """One Job of one stage. Written before the Job is created."""

    stage: Stage
    """Prepare or Train."""
    number: int
    """1, 2, … within the stage."""
    job_name: str
    """Name of the Job, its ConfigMap and its Service."""
    job_uid: str | None = None
    """Uid of the Job, once it was seen; a Job that was seen and is no more was deleted by somebody."""
    start_time: datetime
    """When it was decided."""
    running_time: datetime | None = None
    """When all its pods ran."""
    finish_time: datetime | None = None
    """When its end was seen."""
    cause: Cause | None = None
    """Why it ended."""
    message: Annotated[str, Field(max_length=192)] = ""
    """What a person should know of that, with the field that would help."""
    counted: bool = False
    """Whether it counts towards `restart.maxRestarts`."""
    exit_code: int | None = None
    """Of the pod that decided the cause."""
    node: str | None = None
    """Node of that pod."""
    checkpoint_step: int | None = None
    """Last committed checkpoint that it reported."""


class CheckpointStatus(Model):
    """The last committed checkpoint."""

    step: int
    """Optimizer steps that it holds."""


class Artifacts(Model):
    """What was published."""

    model_uri: str
    """Folder of the fine-tuned model."""
    report_uri: str
    """report.html."""
    manifest_uri: str
    """manifest.json: every file with its checksum."""
    manifest_sha256: str
    """Its checksum."""


class StageState(StrEnum):
    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class StageStatus(Model):
    """One stage, over all its attempts."""

    stage: Stage
    """Prepare or Train."""
    state: StageState
    """Pending, Running, Succeeded or Failed."""
    start_time: datetime | None = None
    """Start of its first attempt."""
    finish_time: datetime | None = None
    """End of its last attempt."""
    image_digest: Annotated[str, Field(max_length=160)] | None = None
    """Of the image that ran last, as the node of its first pod says."""


class Status(Model):
    """Written by the operator alone."""

    observed_generation: int = -1
    """metadata.generation that this status was derived from; -1: not seen yet."""
    phase: Phase | None = None
    """For people."""
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16, json_schema_extra=merged_by("type"))] = ()
    """For machines."""
    start_time: datetime | None = None
    """When the first child was decided; identity fields are immutable from here on."""
    finish_time: datetime | None = None
    """When the job succeeded, failed or was cancelled."""
    run: str | None = None
    """Digest over all that decides the outcome; names `<output.uri>/runs/<run>/`."""
    data_uri: str | None = None
    """Prepared data."""
    data_digest: str | None = None
    """Its digest."""
    model_digest: str | None = None
    """Digest of the base model."""
    stages: Annotated[tuple[StageStatus, ...], Field(max_length=2, json_schema_extra=merged_by("stage"))] = ()
    """Prepare and Train."""
    attempts: Annotated[tuple[Attempt, ...], Field(max_length=10, json_schema_extra=merged_by("stage", "number"))] = ()
    """The latest ten."""
    restart_times: Annotated[tuple[datetime, ...], Field(max_length=101)] = ()
    """Counted failures within `restart.windowSeconds`, oldest first."""
    micro_batch: MicroBatch | None = None
    """What did not fit into a GPU's memory, and what is tried instead; forgotten when the job is suspended."""
    progress: Progress | None = None
    """As last heard; best effort."""
    progress_time: datetime | None = None
    """When it was heard."""
    data: DataSummary | None = None
    """What became of the raw rows."""
    resolved: Resolved | None = None
    """Values that the spec left open."""
    metrics: Metrics | None = None
    """Losses before and after."""
    checkpoint: CheckpointStatus | None = None
    """Where training would resume."""
    artifacts: Artifacts | None = None
    """What was published."""
    failure: Failure | None = None
    """Why the job failed, and what to change."""

    @property
    def open_attempt(self) -> Attempt | None:
        """The one attempt that was decided and has not ended."""
        return next((attempt for attempt in self.attempts if attempt.finish_time is None), None)
