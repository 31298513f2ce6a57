"""The Job of the prepare stage: one pod, CPU only."""

from __future__ import annotations

from finetune_api.job import FineTuneJob
from finetune_api.status import Attempt
from finetune_operator.apply import Manifest
from finetune_operator.render.hub import hub_environment, reads_hub
from finetune_operator.render.pod import CORES, Extras, pod_template
from finetune_operator.render.stage_job import indexed_job
from finetune_operator.settings import Settings


def prepare_job(job: FineTuneJob, attempt: Attempt, settings: Settings) -> Manifest:
    hub = reads_hub(job.spec, attempt)
    env = [CORES, *(hub_environment(job.spec, settings) if hub else ())]
    template = pod_template(job, attempt, settings, settings.prepare, Extras(env=env, reads_hub=hub))
    return indexed_job(job, attempt, num_pods=1, queue=job.spec.scheduling.prepare_queue_name, template=template)
