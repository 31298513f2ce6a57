"""What one look at the cluster tells about a FineTuneJob, trimmed to what decisions need."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from finetune_api.contract import Stage
from finetune_api.progress import Progress
from finetune_api.result import Result
from finetune_operator.apply import Kind, Ref


@dataclass(frozen=True, kw_only=True)
class JobObserved:
    """A Job that this FineTuneJob owns."""

    name: str
    uid: str
    stage: Stage
    attempt: int
    start_time: datetime | None
    """When its controller began to make pods, anew after each suspension."""
    suspended: bool
    """Never by us: a queue holds it back."""
    queue: str | None
    """LocalQueue in its labels, put there by us or by the cluster's default."""
    completions: int
    """Pods of the gang."""
    succeeded: int
    """Indexes that exited 0."""
    complete: bool
    """Condition Complete: every index exited 0."""
    failing: bool
    """Condition FailureTarget or Failed: it will not run again; survivors are being stopped."""
    finished: bool
    """Condition Complete or Failed: all its pods have ended."""
    message: str
    """Of the condition that says so."""
    deletion_time: datetime | None


@dataclass(frozen=True, kw_only=True)
class End:
    """How a pod's container ended."""

    exit_code: int
    out_of_memory: bool
    """The kernel killed it for its memory limit."""
    result: Result | None
    """Its last words, where they could be read."""
    finish_time: datetime | None


@dataclass(frozen=True, kw_only=True)
class PodObserved:
    """A pod of one of those Jobs, as listed or as remembered from its last watch event."""

    name: str
    uid: str
    job_uid: str
    """Of the Job that controls it."""
    stage: Stage
    attempt: int
    index: int
    """Completion index: the node rank."""
    stopped: bool
    """Phase Succeeded or Failed."""
    running: bool
    """Its container runs."""
    node: str | None
    image_digest: str | None
    """Of the image that its container runs or ran."""
    creation_time: datetime
    waiting_reason: str | None
    """Why its container does not start, such as ImagePullBackOff."""
    waiting_message: str
    unschedulable: str | None
    """The scheduler's sentence."""
    end: End | None
    disruption: str | None
    """Reason of the condition DisruptionTarget."""
    evicted: str | None
    """The kubelet's sentence when it evicted the pod."""
    deletion_time: datetime | None
    """When its grace period ends or ended."""
    gone: bool
    """Remembered only: the object is no more."""

    @property
    def live(self) -> bool:
        """May still run, or run again, and hold its node's resources."""
        return not self.gone and not self.stopped

    @property
    def started(self) -> bool:
        """Its container runs or has run."""
        return self.running or self.end is not None


@dataclass(frozen=True, kw_only=True)
class ChildObserved:
    """A ConfigMap, Service or NetworkPolicy that this FineTuneJob owns."""

    ref: Ref
    uid: str
    deletion_time: datetime | None


@dataclass(frozen=True, kw_only=True)
class WorkloadObserved:
    """What Kueue says of a Job that it holds back."""

    job_uid: str
    active: bool
    """Somebody, or Kueue after too many tries, may have taken it out of the queue."""
    reason: str
    """Kueue's, of what it waits for; empty: it has said nothing yet."""
    message: str
    """Its sentence."""
    evicted: str | None
    """Kueue's reason for taking it off its nodes, until it is admitted again."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A child that could not be created."""

    kind: Kind
    name: str
    message: str
    """The API server's own sentence."""
    taken: bool
    """The name belongs to somebody else's object."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The latest progress, and when it was heard."""

    progress: Progress
    time: datetime


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything a decision may depend on besides the FineTuneJob itself and the time."""

    jobs: tuple[JobObserved, ...] = ()
    pods: tuple[PodObserved, ...] = ()
    others: tuple[ChildObserved, ...] = ()
    workloads: tuple[WorkloadObserved, ...] | None = None
    """Of Jobs that are held back; None: nobody asks Kueue."""
    refusal: Refusal | None = None
    """Met while the children of this very look were created."""
    heard: Heard | None = None
    rivals: tuple[Ref, ...] = ()
    """Other unfinished FineTuneJobs with the same `output.uri`. From a cache: it may explain, and decides nothing."""
