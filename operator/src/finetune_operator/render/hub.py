"""What pods need that read datasets of the Hugging Face Hub."""

from __future__ import annotations

from typing import Any

from finetune_api.contract import HUB_ENDPOINT, HUB_SECRET_KEYS, Stage
from finetune_api.spec import Spec
from finetune_api.status import Attempt
from finetune_operator.render.pod import secret_variable, variable
from finetune_operator.settings import Settings


def reads_hub(spec: Spec, attempt: Attempt) -> bool:
    """Raw rows may lie there, and nothing else: training reads what was prepared."""
    benchmarks = spec.data.decontamination.benchmarks
    uris = [*(source.uri for source in spec.data.sources), *(benchmark.uri for benchmark in benchmarks)]
    return attempt.stage is Stage.PREPARE and any(uri.startswith("hf://") for uri in uris)


def hub_environment(spec: Spec, settings: Settings) -> list[dict[str, Any]]:
    """Which Hub, and who asks."""
    env = [] if settings.hub_endpoint is None else [variable(HUB_ENDPOINT, settings.hub_endpoint)]
    if spec.storage.secret_name is not None:
        for key, name in HUB_SECRET_KEYS.items():
            env.append(secret_variable(name, spec.storage.secret_name, key, optional=True))
    return env
