"""Why a kubelet does not start a pod's container, and which field of the job would help."""

from __future__ import annotations

import re

from finetune_api.contract import OPTIONAL_SECRET_KEYS, SECRET_KEYS
from finetune_api.spec import Spec
from finetune_operator.decide.obstacle import Obstacle
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import PodObserved

_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
# What containerd and the kubelet wrap around the cause, one around the other, each with the image again.
_WRAPPING = re.compile(
    r"(rpc error: code = \w+ desc = |ErrImagePull: |(Back-off pulling|failed to pull and unpack) image \"[^\"]*\"(: |$)"
    r"|failed to resolve reference \"[^\"]*\": )"
)
_CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


def unstarted(pod: PodObserved, spec: Spec) -> Obstacle | None:
    """None while the kubelet does what takes its time: pulling an image, mounting a volume."""
    message = f"Pod {pod.name}: {pod.waiting_message or pod.waiting_reason}"
    if pod.waiting_reason in _IMAGE_REASONS:
        return Obstacle(Reason.IMAGE_PULL, f"Pod {pod.name}: {_unpulled(pod)}", "spec.workers.image")
    if pod.waiting_reason not in _CONFIG_REASONS:
        return None
    # `secret "s3" not found`, or `couldn't find key accessKeyId in Secret ml/s3`.
    secret = spec.storage.secret_name
    if secret is None or not re.search(rf"[/\"]{re.escape(secret)}(?![-a-z0-9.])", pod.waiting_message):
        return Obstacle(Reason.CONTAINER_CONFIG, message)
    keys = " and ".join(key for key in SECRET_KEYS if key not in OPTIONAL_SECRET_KEYS)
    return Obstacle(Reason.CONTAINER_CONFIG, f"{message}; it must hold {keys}", "spec.storage.secretName")


def _unpulled(pod: PodObserved) -> str:
    """The same sentence while the kubelet pulls and while it waits to pull again."""
    image = re.search(r"image \"([^\"]*)\"", pod.waiting_message)
    if image is None:
        return pod.waiting_message or str(pod.waiting_reason)
    cause = _WRAPPING.sub("", pod.waiting_message)
    return f"image {image[1]} cannot be pulled" + (f": {cause}" if cause else "")
