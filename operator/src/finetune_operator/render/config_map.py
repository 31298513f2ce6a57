"""The ConfigMap of an attempt: the spec as it stood when the attempt was decided, never to change."""

from __future__ import annotations

import json

from finetune_api.contract import SNAPSHOT_FILE, Stage
from finetune_api.job import FineTuneJob
from finetune_api.result import Prepared
from finetune_api.snapshot import Period, Snapshot
from finetune_api.status import Attempt, Status
from finetune_operator.apply import Manifest
from finetune_operator.render.names import metadata


def config_map(job: FineTuneJob, attempt: Attempt) -> Manifest:
    """For a train attempt `job.status` holds, under the same names, what prepare said."""
    trains = attempt.stage is Stage.TRAIN
    snapshot = Snapshot(
        name=job.metadata.name,
        namespace=job.metadata.namespace,
        uid=job.metadata.uid,
        stage=attempt.stage,
        attempt=attempt.number,
        spec=job.spec,
        prepared=Prepared.parse(job.status.to_json(), ignore_unknown=True) if trains else None,
        preparation=_preparation(job.status) if trains else None,
        micro_batch=job.status.micro_batch if trains else None,
    )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(job, attempt),
        "immutable": True,
        "data": {SNAPSHOT_FILE: json.dumps(snapshot.to_json(), indent=1, sort_keys=True)},
    }


def _preparation(status: Status) -> Period | None:
    for each in status.stages:
        if each.stage is Stage.PREPARE and each.start_time is not None and each.finish_time is not None:
            return Period(start_time=each.start_time, finish_time=each.finish_time)
    return None
