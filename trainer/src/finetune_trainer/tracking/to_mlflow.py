"""A run of MLflow."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from finetune_api.result import Prepared
from finetune_api.snapshot import Snapshot
from finetune_trainer.tracking import parameters, run_name

EXPERIMENT: Final = "finetune"
_RUN_TAG: Final = "finetune.run"


class MLflow:
    """Found again by its tag, the digest of the run."""

    def __init__(self, snapshot: Snapshot, prepared: Prepared) -> None:
        tracking = snapshot.spec.tracking
        self._client = MlflowClient(tracking.uri)
        experiment = self._experiment(tracking.project or EXPERIMENT)
        found = self._client.search_runs([experiment], f"tags.`{_RUN_TAG}` = '{prepared.run}'", max_results=1)
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        run = self._client.create_run(experiment, run_name=run_name(snapshot), tags={_RUN_TAG: prepared.run})
        self._run = run.info.run_id
        given = [Param(name, value) for name, value in parameters(snapshot, prepared).items()]
        self._client.log_batch(self._run, params=given, tags=[RunTag("mlflow.source.name", "finetune-trainer")])

    def send(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def finish(self) -> None:
        self._client.set_terminated(self._run)

    def _experiment(self, name: str) -> str:
        if (found := self._client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another job made it just now
            if (found := self._client.get_experiment_by_name(name)) is None:
                raise
            return str(found.experiment_id)
