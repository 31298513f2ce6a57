"""Why the scheduler finds no node for a pod, and which field of the job would help."""

from __future__ import annotations

import re
from itertools import takewhile

from finetune_api.contract import Stage
from finetune_api.spec import Spec
from finetune_operator.decide.obstacle import Obstacle
from finetune_operator.decide.reasons import Reason
from finetune_operator.observe import PodObserved

_STORAGE_CLASS = "spec.workers.resources.scratchStorageClass"
# Words of kube-scheduler 1.36. The first that a complaint holds counts; whatever has a slash is an extended resource.
_FIELDS = (
    ("persistentvolumeclaim", _STORAGE_CLASS),
    ("persistent volume", _STORAGE_CLASS),
    ("volume node affinity", _STORAGE_CLASS),
    ("insufficient cpu", "spec.workers.resources.cpu"),
    ("insufficient memory", "spec.workers.resources.memory"),
    ("insufficient ephemeral-storage", "spec.workers.resources.scratch"),
    ("node affinity/selector", "spec.workers.nodeSelector"),
    ("untolerated taint", "spec.workers.tolerations"),
    ("insufficient", "spec.workers.gpusPerNode"),
)
_AFTERTHOUGHT = re.compile(r"\. (no new claims to deallocate|preemption: |not found).*", re.DOTALL)


def unplaced(pod: PodObserved, complaint: str, spec: Spec) -> Obstacle:
    """`complaint` is the scheduler's: `0/4 nodes are available: 4 Insufficient nvidia.com/gpu. preemption: …`."""
    complaint = _AFTERTHOUGHT.sub("", complaint)
    field, message = _field(complaint), f"Pod {pod.name}: {complaint}"
    if field == _STORAGE_CLASS:
        name = spec.workers.resources.scratch_storage_class
        hint = f"no volume from StorageClass {name}: it may not exist, or provide none, or a quota forbids the claim"
        # The scheduler names no class. Its words come last, for a condition loses the end of what is too long.
        return Obstacle(Reason.UNSCHEDULABLE, f"Pod {pod.name}: {hint}; {complaint}", field)
    if pod.stage is Stage.PREPARE:
        # Of the nodes and the resources of preparation the job says nothing.
        return Obstacle(Reason.UNSCHEDULABLE, f"{message}; what preparation asks for is in the operator's settings")
    return Obstacle(Reason.UNSCHEDULABLE, message, field)


def _field(complaint: str) -> str:
    """What keeps most of the nodes away; of several such things the part of the spec that holds them all."""
    head, _, listed = complaint.partition(": ")
    counts: dict[str, int] = {}
    for each in (listed or head).split(", "):
        number, _, words = each.partition(" ")
        field = next((field for sign, field in _FIELDS if sign in each.lower()), None)
        if field is not None:
            counts[field] = counts.get(field, 0) + (int(number) if number.isdecimal() and words else 1)
    worst = [field.split(".") for field, count in counts.items() if count == max(counts.values())]
    shared = takewhile(lambda parts: len(set(parts)) == 1, zip(*worst, strict=False))
    return ".".join(parts[0] for parts in shared) or "spec.workers"
