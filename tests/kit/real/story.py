"""What tests know of a job that came to its end, and of the attempts on its way."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster_client import Manifest
from finetune_api.contract import Stage
from finetune_api.status import Attempt, Phase, Status
from real.job import RealJob
from real.publication import Publication, read_publication
from real.store import Store


@dataclass(frozen=True)
class Finished:
    """A job that has succeeded."""

    job: RealJob
    status: Status
    versions: Sequence[Status]
    """All that its status ever said."""
    pods: Mapping[Stage, Sequence[Manifest]]
    """Of the last attempt of each stage."""
    publication: Publication

    def attempts(self, stage: Stage) -> list[Attempt]:
        return [attempt for attempt in self.status.attempts if attempt.stage is stage]


def finish(job: RealJob, store: Store, *, within: float = 300) -> Finished:
    """Waits for the job's success."""
    status = job.ended(Phase.SUCCEEDED, within=within)
    with store.opened() as storage:
        publication = read_publication(storage, job.spec["output"]["uri"])
    return Finished(job, status, tuple(job.versions), {stage: job.pods(stage) for stage in Stage}, publication)


def resumed(job: RealJob, attempt: int) -> tuple[int, int]:
    """Step and epoch of the checkpoint that this train attempt went on from, in its own words."""
    rank_0 = job.pods(Stage.TRAIN, attempt)[0]["metadata"]["name"]
    said = re.findall(r"resumed from step (\d+), saved under epoch (\d+)", job.log(rank_0))
    ((step, epoch),) = said
    return int(step), int(epoch)


def gone_on(job: RealJob, attempt: int) -> tuple[int, int]:
    """Waits until this attempt has committed a checkpoint of its own; step and epoch of the one it began with."""
    job.in_training(attempt, within=300)
    step, epoch = resumed(job, attempt)
    job.in_training(attempt, beyond=step)
    return step, epoch
