"""The children that a FineTuneJob wants, as manifests: same input, same bytes."""

from __future__ import annotations

from finetune_api.job import FineTuneJob
from finetune_operator.apply import Manifest
from finetune_operator.settings import Settings


def render(job: FineTuneJob, settings: Settings) -> list[Manifest]:
    """ConfigMap, Service and Job of the open attempt in `job.status`, in creation order; none without an attempt."""
    raise NotImplementedError
