"""A job as it runs on one machine: paths of the home folder spelt out, and what has no meaning here told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetune_api.job import FineTuneJob

_HOME = "file://~/"


def with_home(value: Any, home: Path) -> Any:
    """`value` with `file://~/…` as an absolute URI in every string below it."""
    if isinstance(value, str) and value.startswith(_HOME):
        return f"file://{home.as_posix()}/{value.removeprefix(_HOME)}"
    if isinstance(value, Mapping):
        return {key: with_home(item, home) for key, item in value.items()}
    if isinstance(value, list):
        return [with_home(item, home) for item in value]
    return value


def refusals(job: FineTuneJob, *, num_gpus: int) -> tuple[str, ...]:
    """`field: what to change`, for everything that can never run here."""
    workers = job.spec.workers
    wanted = workers.nodes * workers.gpus_per_node
    too_many_gpus = (
        f"spec.workers: {workers.nodes} nodes of {workers.gpus_per_node} GPUs are asked for and this machine has "
        f"{num_gpus}; lower nodes or gpusPerNode (0 trains on the CPU)"
    )
    found = (
        (job.spec.suspend, "spec.suspend: must be false, or the job never starts"),
        (job.spec.cancel, "spec.cancel: must be false, or there is nothing to run"),
        (wanted > num_gpus, too_many_gpus),
    )
    return tuple(message for holds, message in found if holds)


def notes(job: FineTuneJob) -> tuple[str, ...]:
    """`field: what becomes of it`, for what means something in a cluster only."""
    spec = job.spec
    found = (
        (spec.storage.secret_name, "spec.storage.secretName: your environment is used instead (AWS_ACCESS_KEY_ID, …)"),
        (
            spec.tracking.secret_name,
            "spec.tracking.secretName: your environment is used instead (MLFLOW_TRACKING_TOKEN, …)",
        ),
        (spec.workers.image, "spec.workers.image: the installed finetune-trainer is used instead"),
        (spec.workers.service_account_name, "spec.workers.serviceAccountName: not used on one machine"),
        (spec.scheduling.queue_name, "spec.scheduling.queueName: not used on one machine"),
        (spec.scheduling.prepare_queue_name, "spec.scheduling.prepareQueueName: not used on one machine"),
    )
    return tuple(message for given, message in found if given)


def pod_environ(environ: Mapping[str, str]) -> Mapping[str, str]:
    """A pod has a home of its own, so what AWS's tools and the Hub's look for in the caller's is named."""
    home = Path(environ.get("HOME", "~")).expanduser()
    hub = Path(environ.get("HF_HOME", home / ".cache" / "huggingface"))
    files = {
        "AWS_CONFIG_FILE": home / ".aws" / "config",
        "AWS_SHARED_CREDENTIALS_FILE": home / ".aws" / "credentials",
        "HF_TOKEN_PATH": hub / "token",
    }
    return {**{name: str(file) for name, file in files.items() if file.exists()}, **environ}
