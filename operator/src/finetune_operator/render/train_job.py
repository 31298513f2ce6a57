"""The Job of the train stage: the gang, one pod a node."""

from __future__ import annotations

from typing import Any

from finetune_api.contract import MOUNT_SHM, PORT_NAME_RENDEZVOUS, PORT_RENDEZVOUS, Env
from finetune_api.job import FineTuneJob
from finetune_api.spec import Resources
from finetune_api.status import Attempt
from finetune_operator.apply import Manifest
from finetune_operator.render.names import rendezvous_host
from finetune_operator.render.pod import CORES, Extras, pod_template, variable
from finetune_operator.render.stage_job import indexed_job
from finetune_operator.render.tracking import tracking_environment
from finetune_operator.settings import PodDefaults, Settings


def train_job(job: FineTuneJob, attempt: Attempt, settings: Settings) -> Manifest:
    workers = job.spec.workers
    gpu_limits = {settings.gpu_resource: str(workers.gpus_per_node)} if workers.gpus_per_node else {}
    gpu_taint = [{"key": settings.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}] if gpu_limits else []
    spec: dict[str, Any] = {"subdomain": attempt.job_name}
    if workers.node_selector:
        spec["nodeSelector"] = dict(workers.node_selector)
    extras = Extras(
        env=[
            variable(Env.RENDEZVOUS_HOST, rendezvous_host(job, attempt)),
            variable(Env.RENDEZVOUS_PORT, str(PORT_RENDEZVOUS)),
            CORES,
            *tracking_environment(job.spec.tracking),
        ],
        ports=[{"name": PORT_NAME_RENDEZVOUS, "containerPort": PORT_RENDEZVOUS, "protocol": "TCP"}],
        limits=gpu_limits,
        # The 64 MB that a container gets by itself are too small for NCCL.
        volumes=[{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings.shm}}],
        mounts=[{"name": "shm", "mountPath": MOUNT_SHM}],
        tolerations=[*gpu_taint, *(toleration.to_json() for toleration in workers.tolerations)],
        spec=spec,
    )
    template = pod_template(job, attempt, settings, _resources(workers.resources, settings.train), extras)
    return indexed_job(job, attempt, num_pods=workers.nodes, queue=job.spec.scheduling.queue_name, template=template)


def _resources(asked: Resources, default: PodDefaults) -> PodDefaults:
    return PodDefaults(
        cpu=asked.cpu or default.cpu,
        memory=asked.memory or default.memory,
        scratch=asked.scratch or default.scratch,
    )
