"""What training is given to reach the tracker of `spec.tracking`."""

from __future__ import annotations

from typing import Any, Final

from finetune_api.contract import MLFLOW_SECRET_KEYS, WANDB_SECRET_KEYS, Stage
from finetune_api.spec import Tracking, TrackingType
from finetune_api.status import Attempt
from finetune_operator.render.pod import secret_variable

WANDB_CLOUD: Final = "https://api.wandb.ai"
_SECRET_KEYS: Final = {
    TrackingType.NONE: {},
    TrackingType.MLFLOW: MLFLOW_SECRET_KEYS,
    TrackingType.WANDB: WANDB_SECRET_KEYS,
}


def tracking_environment(tracking: Tracking) -> list[dict[str, Any]]:
    """Each key optional: a job whose tracker refuses it trains all the same."""
    if tracking.secret_name is None:
        return []
    return [
        secret_variable(name, tracking.secret_name, key, optional=True)
        for key, name in _SECRET_KEYS[tracking.type].items()
    ]


def tracker_url(tracking: Tracking, attempt: Attempt) -> str | None:
    """Where this attempt connects to; None for nowhere."""
    if attempt.stage is not Stage.TRAIN or tracking.type is TrackingType.NONE:
        return None
    return tracking.uri or WANDB_CLOUD
