"""The children that a FineTuneJob wants, as manifests: same input, same bytes."""

from __future__ import annotations

from finetune_api.contract import Stage
from finetune_api.job import FineTuneJob
from finetune_operator.apply import Manifest
from finetune_operator.render.config_map import config_map
from finetune_operator.render.network_policy import network_policy
from finetune_operator.render.prepare_job import prepare_job
from finetune_operator.render.service import service
from finetune_operator.render.train_job import train_job
from finetune_operator.settings import Settings


def render(job: FineTuneJob, settings: Settings) -> list[Manifest]:
    """The children of the open attempt in `job.status`, in creation order: the Job last. None without an attempt."""
    attempt = job.status.open_attempt
    if attempt is None:
        return []
    around = [config_map(job, attempt)]
    if settings.network_policy:
        around.append(network_policy(job, attempt, settings))
    if attempt.stage is Stage.PREPARE:
        return [*around, prepare_job(job, attempt, settings)]
    return [*around, service(job, attempt), train_job(job, attempt, settings)]
