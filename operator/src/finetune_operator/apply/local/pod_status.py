"""What a kubelet says of a pod of one container, from Pending to its last words."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_operator.apply import Body, Manifest
from finetune_operator.apply.local.container import LOOPBACK

_MESSAGE_MAX_BYTES = 4096


def pending(pod: Body, now: str, reason: str, message: str = "") -> Manifest:
    """Waiting to start."""
    return _status(pod, "Pending", now, {"waiting": {"reason": reason, "message": message}}, ready=False)


def running(pod: Body, now: str) -> Manifest:
    return _status(pod, "Running", now, {"running": {"startedAt": now}}, ready=True)


def terminated(pod: Body, now: str, *, exit_code: int, last_words: bytes) -> Manifest:
    """Succeeded or Failed; of longer last words the end is kept."""
    started = pod["status"].get("containerStatuses", [{}])[0].get("state", {}).get("running", {}).get("startedAt", now)
    state = {
        "exitCode": exit_code,
        "reason": "Completed" if exit_code == 0 else "Error",
        "message": last_words[-_MESSAGE_MAX_BYTES:].decode(errors="replace"),
        "startedAt": started,
        "finishedAt": now,
    }
    return _status(pod, "Succeeded" if exit_code == 0 else "Failed", now, {"terminated": state}, ready=False)


def _status(pod: Body, phase: str, now: str, state: Mapping[str, object], *, ready: bool) -> Manifest:
    container = pod["spec"]["containers"][0]
    before = {condition["type"]: condition for condition in pod["status"].get("conditions", ())}

    def condition(kind: str, holds: bool) -> Manifest:
        status = "True" if holds else "False"
        same = before.get(kind, {}).get("status") == status
        return {
            "type": kind,
            "status": status,
            "lastTransitionTime": before[kind]["lastTransitionTime"] if same else now,
        }

    return {
        "phase": phase,
        "startTime": pod["status"].get("startTime", now),
        "podIP": LOOPBACK,
        "hostIP": LOOPBACK,
        "conditions": [
            condition("PodScheduled", True),
            condition("Initialized", True),
            condition("ContainersReady", ready),
            condition("Ready", ready),
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container.get("image", ""),
                "imageID": "",
                "ready": ready,
                "started": ready,
                "restartCount": 0,
                "state": dict(state),
            }
        ],
    }
