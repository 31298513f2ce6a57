"""Why a kubelet does not start a pod's container, and which field of the job would help."""

from __future__ import annotations

import re

from finetune_api.contract import OPTIONAL_SECRET_KEYS, SECRET_KEYS
from finetune_api.spec import Spec
from finetune_operator.decide.obstacle import Obstacle
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import PodObserved

_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


def unstarted(pod: PodObserved, spec: Spec) -> Obstacle | None:
    """None while the kubelet does what takes its time: pulling an image, mounting a volume."""
    message = f"Pod {pod.name}: {pod.waiting_message or pod.waiting_reason}"
    if pod.waiting_reason in _IMAGE_REASONS:
        return Obstacle(Reason.IMAGE_PULL, message, "spec.workers.image")
    if pod.waiting_reason not in _CONFIG_REASONS:
        return None
    # `secret "s3" not found`, or `couldn't find key accessKeyId in Secret ml/s3`.
    secret = spec.storage.secret_name
    if secret is None or not re.search(rf"[/\"]{re.escape(secret)}(?![-a-z0-9.])", pod.waiting_message):
        return Obstacle(Reason.CONTAINER_CONFIG, message)
    keys = " and ".join(key for key in SECRET_KEYS if key not in OPTIONAL_SECRET_KEYS)
    return Obstacle(Reason.CONTAINER_CONFIG, f"{message}; it must hold {keys}", "spec.storage.secretName")
