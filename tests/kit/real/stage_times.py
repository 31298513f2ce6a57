"""How long each stage of a job took, from what its status and pods say of time: to the second, as the API does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from cluster_client import Manifest
from finetune_api.contract import Stage
from finetune_api.progress import Activity
from finetune_api.status import Attempt, Status


@dataclass(frozen=True)
class Span:
    """One stretch of a job's life."""

    name: str
    begin: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()


@dataclass(frozen=True)
class _Pods:
    """When the last of an attempt's pods was there, ran, and had ended."""

    created: datetime
    started: datetime
    ended: datetime

    @classmethod
    def of(cls, pods: Sequence[Manifest]) -> _Pods:
        ends = [pod["status"]["containerStatuses"][0]["state"]["terminated"] for pod in pods]
        return cls(
            created=max(datetime.fromisoformat(pod["metadata"]["creationTimestamp"]) for pod in pods),
            started=max(datetime.fromisoformat(end["startedAt"]) for end in ends),
            ended=max(datetime.fromisoformat(end["finishedAt"]) for end in ends),
        )


def spans(versions: Sequence[Status], pods: dict[Stage, Sequence[Manifest]]) -> list[Span]:
    """Of a job with one attempt of each stage, one after the other; `versions` are all that its status ever said."""
    last = versions[-1]
    prepare, train = (_only(last.attempts, stage) for stage in Stage)
    preparing, training = (_Pods.of(pods[stage]) for stage in Stage)
    steps = [
        status.progress_time.replace(microsecond=0)  # kubelet cuts its own times so
        for status in versions
        if status.progress and status.progress_time and status.progress.activity is Activity.TRAINING
    ]
    assert last.finish_time is not None
    return [
        Span("prepare: Job and pod made", prepare.start_time, preparing.created),
        Span("prepare: node, image, volumes", preparing.created, preparing.started),
        Span("prepare: at work", preparing.started, preparing.ended),
        Span("from prepare to train", preparing.ended, train.start_time),
        Span("train: Job and pods made", train.start_time, training.created),
        Span("train: nodes, image, volumes", training.created, training.started),
        Span("train: start-up, test loss before", training.started, steps[0]),
        Span("train: steps", steps[0], steps[-1]),
        Span("train: test loss after, publish", steps[-1], training.ended),
        Span("from the pods' end to Succeeded", training.ended, last.finish_time),
        Span("in all", prepare.start_time, last.finish_time),
    ]


def table(rows: Iterable[Span]) -> str:
    """As Markdown."""
    return "\n".join(["| stage | s |", "|---|---:|", *(f"| {row.name} | {row.seconds:.0f} |" for row in rows)])


def _only(attempts: Iterable[Attempt], stage: Stage) -> Attempt:
    (only,) = [attempt for attempt in attempts if attempt.stage is stage]
    return only
